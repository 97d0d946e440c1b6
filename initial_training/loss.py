"""The one rule about a loss: it must be a number."""

from __future__ import annotations

import math


class NonFiniteLoss(Exception):
    """Training diverged. NaN scores rank everything first and look like perfect recall, so nothing may be kept."""


def refuse_non_finite(step: str, loss: float) -> None:
    """Raise ``NonFiniteLoss`` unless the loss of this step is a finite number."""
    if not math.isfinite(loss):
        raise NonFiniteLoss(
            f"the loss of {step} is {loss}: training diverged and nothing was written; lower the learning rate "
            "or raise the regularisation"
        )
