"""The usual way to train on pairs: a ``Dataset`` of single samples, a shuffling ``DataLoader``, autograd and Adam."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from initial_training.ncf_recipe import BATCH_SIZE, LEARNING_RATE, NEGATIVES, sample_negatives
from models.gmf import GMF

Sample = tuple[int, int, float]


class Samples(Dataset[Sample]):
    """Every pair, and for each of them the paper's number of items that the user has not consumed."""

    def __init__(self, users: NDArray[np.int32], items: NDArray[np.int32], shape: tuple[int, int], seed: int) -> None:
        u, i = torch.from_numpy(users).long(), torch.from_numpy(items).long()
        consumed = (u * shape[1] + i).sort().values
        repeated = u.repeat(NEGATIVES)
        drawn = sample_negatives(repeated, consumed, shape[1], torch.Generator().manual_seed(seed))
        self._users = torch.cat([u, repeated]).numpy()
        self._items = torch.cat([i, drawn]).numpy()
        self._positives = len(u)

    def __len__(self) -> int:
        return len(self._users)

    def __getitem__(self, position: int) -> Sample:
        return self._users[position], self._items[position], float(position < self._positives)


def training(samples: Samples, model: GMF, seed: int) -> Iterator[int]:
    """Train one epoch; yield after each batch how many samples it had."""
    model.user_embeddings.sparse = model.item_embeddings.sparse = False  # the paper's Adam is dense
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_of = torch.nn.BCEWithLogitsLoss()
    shuffled = torch.Generator().manual_seed(seed)
    for users, items, labels in DataLoader(samples, batch_size=BATCH_SIZE, shuffle=True, generator=shuffled):
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(users, items[:, None]).squeeze(-1), labels.float()).backward()
        optimizer.step()
        yield len(users)
