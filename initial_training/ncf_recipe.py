"""The configuration of the NCF paper (arXiv 1708.05031), kept for comparison: GMF, log loss, 4 negatives, Adam, no L2.

It is not what initial training uses: it overfits after a few epochs and stays some HR points below a regularised model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from initial_training.loss import refuse_non_finite
from models.gmf import GMF

EPOCHS = 20
BATCH_SIZE = 256
LEARNING_RATE = 0.001
NEGATIVES = 4


def sample_negatives(
    users: torch.Tensor, consumed: torch.Tensor, items: int, generator: torch.Generator
) -> torch.Tensor:
    """Return one item per user that he has not consumed, (n,) int64, uniform.

    ``consumed``: sorted ``user * items + item`` of all pairs. A draw that hits a consumed pair is drawn again; a user
    who has consumed nearly everything keeps, after ten draws, what he got.
    """
    drawn = torch.randint(items, (len(users),), generator=generator)
    for _ in range(10):
        keys = users * items + drawn
        found = torch.searchsorted(consumed, keys).clamp(max=len(consumed) - 1)
        hits = torch.nonzero(consumed[found] == keys).squeeze(1)
        if not len(hits):
            break
        drawn[hits] = torch.randint(items, (len(hits),), generator=generator)
    return drawn


def train_ncf(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    shape: tuple[int, int],
    dimension: int,
    *,
    seed: int,
    device: torch.device,
    epochs: int = EPOCHS,
    on_epoch: Callable[[int, float, GMF], None] = lambda epoch, loss, model: None,
) -> GMF:
    """Train the paper's GMF on pairs, (n,) rows each, of ``shape`` (users, items). Raises ``NonFiniteLoss``."""
    generator = torch.Generator().manual_seed(seed)
    model = GMF(*shape, dimension, generator=generator)
    # Adam with dense moments is what the paper used; its sparse relative skips rows that a batch does not touch.
    model.user_embeddings.sparse = model.item_embeddings.sparse = False
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_of = torch.nn.BCEWithLogitsLoss()
    u, i = torch.from_numpy(users).long(), torch.from_numpy(items).long()
    consumed = (u * shape[1] + i).sort().values
    for epoch in range(1, epochs + 1):
        repeated = u.repeat(1 + NEGATIVES)
        negatives = sample_negatives(repeated[len(u) :], consumed, shape[1], generator)
        candidates = torch.cat([i, negatives])
        labels = torch.cat([torch.ones(len(u)), torch.zeros(len(negatives))])
        total = 0.0
        for batch in torch.randperm(len(labels), generator=generator).split(BATCH_SIZE):
            optimizer.zero_grad(set_to_none=True)
            logits = model(repeated[batch].to(device), candidates[batch, None].to(device)).squeeze(-1)
            loss = loss_of(logits, labels[batch].to(device))
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        refuse_non_finite(f"epoch {epoch}", total / len(labels))
        on_epoch(epoch, total / len(labels), model)
    return model
