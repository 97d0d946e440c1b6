"""The usual way to learn one event: the same model in PyTorch, its gradient by autograd, a step of sparse SGD."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.gmf import GMF

RATE = 0.05


class AutogradStep:
    """``models.gmf.GMF`` with context and biases, the softmax of the kernel, and ``torch.optim.SGD``."""

    def __init__(self, users: int, items: int, dimension: int) -> None:
        self._model = GMF(users, items, dimension, context=True, biases=True)
        self._model.freeze_head()
        self._optimizer = torch.optim.SGD([p for p in self._model.parameters() if p.requires_grad], lr=RATE)
        self._first = torch.zeros(1, dtype=torch.int64)

    def learn(self, users: NDArray[np.int32], candidates: NDArray[np.int32], recent: NDArray[np.int32]) -> None:
        """Learn events one after another: rows (n,) of users, (n, 1 + negatives) the positive first, (n, length)."""
        columns = (torch.from_numpy(column.astype(np.int64)) for column in (users, candidates, recent))
        for user, items, before in zip(*columns, strict=True):
            self._optimizer.zero_grad(set_to_none=True)
            logits = self._model(user[None], items[None], before[None])
            torch.nn.functional.cross_entropy(logits, self._first).backward()
            self._optimizer.step()
