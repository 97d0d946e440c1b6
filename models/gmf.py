"""Generalised matrix factorisation in PyTorch, with a recency context.

score(u, i) = h . ((p_u + sum_k decay**k c_{item k back}) * q_i) + b_i

Without context and biases this is GMF of He et al., "Neural Collaborative Filtering" (arXiv 1708.05031, equation 9)
exactly; the sigmoid of the paper's output layer changes no order and belongs to its loss. Batch training uses this
module; the stream is learned by ``models.learning_kernel`` on the same tensors' memory, and this module is its oracle.
"""

from __future__ import annotations

import torch
from torch import nn


class GMF(nn.Module):
    """Scores of items for users.

    ``users``, ``items``: rows of each side. ``context`` adds the context embeddings, ``biases`` the item biases.
    Embeddings start normal with standard deviation ``scale`` from ``generator``, the head at one, biases at zero.
    Gradients of embeddings and biases are sparse: only touched rows have one.
    """

    def __init__(
        self,
        users: int,
        items: int,
        dimension: int,
        *,
        context: bool = False,
        biases: bool = False,
        context_decay: float = 0.8,
        scale: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.context_decay = context_decay
        self.user_embeddings = _table(users, dimension, scale, generator)
        self.item_embeddings = _table(items, dimension, scale, generator)
        self.context_embeddings = _table(items, dimension, scale, generator) if context else None
        self.item_biases = _table(items, 1, 0.0, generator) if biases else None
        self.head = nn.Parameter(torch.ones(dimension))

    def forward(self, users: torch.Tensor, items: torch.Tensor, recent: torch.Tensor | None = None) -> torch.Tensor:
        """Return scores, (batch, n).

        ``users``: (batch,) rows. ``items``: (batch, n) rows, or (n,) rows that every user of the batch shares.
        ``recent``: (batch, length) rows of each user's recent positives, NEWEST FIRST, -1 where there is none.
        """
        query = self.query(users, recent) * self.head
        vectors = self.item_embeddings(items)
        scores = query @ vectors.T if items.dim() == 1 else torch.einsum("bd,bnd->bn", query, vectors)
        if self.item_biases is not None:
            scores = scores + self.item_biases(items).squeeze(-1)
        return scores

    def query(self, users: torch.Tensor, recent: torch.Tensor | None = None) -> torch.Tensor:
        """Return what is multiplied with head and items, (batch, dimension): user embedding plus context."""
        query = self.user_embeddings(users)
        if self.context_embeddings is not None and recent is not None:
            weights = self.context_decay ** torch.arange(recent.shape[1], device=recent.device)
            weights = weights * (recent >= 0)
            query = query + torch.einsum("bl,bld->bd", weights, self.context_embeddings(recent.clamp(min=0)))
        return query

    def item_vectors(self) -> torch.Tensor:
        """Return what an index searches, (items, dimension + 1): head * embedding, then bias.

        The inner product with (query, 1) equals ``forward``. An index without the head folded in has another order.
        """
        folded = self.item_embeddings.weight * self.head
        if self.item_biases is None:
            return torch.cat([folded, folded.new_zeros(len(folded), 1)], dim=1)
        return torch.cat([folded, self.item_biases.weight], dim=1)

    def freeze_head(self) -> None:
        """Learn the head no more: from here on every query and item vector is relative to it. Safe to repeat."""
        self.head.requires_grad_(False)


def _table(rows: int, dimension: int, scale: float, generator: torch.Generator | None) -> nn.Embedding:
    weight = torch.randn(rows, dimension, generator=generator) * scale
    return nn.Embedding.from_pretrained(weight, freeze=False, sparse=True)
