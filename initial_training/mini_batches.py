"""Mini-batch training of GMF with its context, in PyTorch: on a GPU when there is one.

It goes on from a learner that has streamed the history once, whose memories (popularity, transitions, merge, seen)
stay as they are: events are drawn in random order, each with the context it had, and embeddings move by Adagrad that
starts from the learner's accumulators. Batches in the order of a bursty stream would lose quality or diverge.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from initial_training.loss import refuse_non_finite
from initial_training.pairs import Pairs
from models.gmf import GMF
from models.learner import Learner
from models.prequential import LATER_PASS_RATE

BATCH_SIZE = 256
# Negatives are shared by a batch: one matrix product instead of a gather per event, and so several times as many.
SHARED_NEGATIVES = 256


def mini_batch_epochs(
    learner: Learner, pairs: Pairs, epochs: int, *, seed: int, device: torch.device
) -> Iterator[float]:
    """Move the learner's embeddings epoch by epoch; yield the mean cross entropy of each. Raises ``NonFiniteLoss``.

    ``pairs``: what the learner has streamed, in that order.
    """
    settings = learner.settings
    user_rows, item_rows = pairs.rows(learner)
    users, items = torch.from_numpy(user_rows).to(device), torch.from_numpy(item_rows).to(device)
    strengths = torch.from_numpy(pairs.strengths).to(device)
    recent = torch.from_numpy(recent_items(user_rows, item_rows, settings.context_length)).to(device)
    model = _gmf_of(learner).to(device)
    optimizers = _optimizers(model, learner, device)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for drawn in torch.randperm(len(users), generator=generator).split(BATCH_SIZE):
            batch = drawn.to(device)
            # Half as likely as they are positives, half uniform, as the stream's negatives are.
            half = torch.randint(len(items), (SHARED_NEGATIVES // 2,), generator=generator).to(device)
            uniform = torch.randint(len(learner.items), (SHARED_NEGATIVES // 2,), generator=generator).to(device)
            negatives = torch.cat([items[half], uniform])
            losses, penalty = _loss(model, users[batch], items[batch], recent[batch], negatives)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            ((losses * strengths[batch]).sum() + settings.l2 / 2 * penalty).backward()
            # Said aloud, because PyTorch warns where nobody says whether sparse gradients are to be checked.
            with torch.sparse.check_sparse_tensor_invariants(False):
                for optimizer in optimizers:
                    optimizer.step()
            total += float(losses.detach().sum())
        refuse_non_finite(f"epoch {epoch}", total / len(users))
        _give_back(model, learner)
        yield total / len(users)


def recent_items(users: NDArray[np.int32], items: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    """Return what each event's user had consumed before it, (n, length) NEWEST FIRST, -1 where there is nothing."""
    order = np.argsort(users, kind="stable")
    sorted_users, sorted_items = users[order], items[order]
    recent = np.full((len(users), length), -1, np.int32)
    for back in range(1, min(length, len(users) - 1) + 1):
        same = sorted_users[back:] == sorted_users[:-back]
        recent[order[back:][same], back - 1] = sorted_items[:-back][same]
    return recent


def _loss(
    model: GMF, users: torch.Tensor, items: torch.Tensor, recent: torch.Tensor, negatives: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the cross entropy of each positive among the shared negatives, (batch,), and the sum of squares."""
    assert model.item_biases is not None
    query = model.query(users, recent) * model.head
    of_items, of_negatives = model.item_embeddings(items), model.item_embeddings(negatives)
    positive = (query * of_items).sum(1, keepdim=True) + model.item_biases(items)
    others = query @ of_negatives.T + model.item_biases(negatives).T
    others = others.masked_fill(negatives == items[:, None], -torch.inf)
    logits = torch.cat([positive, others], dim=1)
    penalty = model.user_embeddings(users).square().sum() + of_items.square().sum() + of_negatives.square().sum()
    return torch.logsumexp(logits, dim=1) - positive.squeeze(1), penalty


def _gmf_of(learner: Learner) -> GMF:
    settings, m, n = learner.settings, len(learner.users), len(learner.items)
    model = GMF(m, n, settings.dimension, context=True, biases=True, context_decay=settings.context_decay)
    assert model.context_embeddings is not None and model.item_biases is not None
    with torch.no_grad():
        model.user_embeddings.weight.copy_(torch.from_numpy(learner.user_table.weights[:m]))
        model.item_embeddings.weight.copy_(torch.from_numpy(learner.item_table.weights[:n]))
        model.context_embeddings.weight.copy_(torch.from_numpy(learner.context_table.weights[:n]))
        model.item_biases.weight.copy_(torch.from_numpy(learner.biases())[:, None])
        model.head.copy_(torch.from_numpy(learner.head))
    model.freeze_head()
    return model


def _tables(model: GMF, learner: Learner) -> list[tuple[torch.Tensor, NDArray[np.float32], NDArray[np.float32]]]:
    assert model.context_embeddings is not None
    return [
        (embeddings.weight, table.weights[: len(embeddings.weight)], table.accumulators[: len(embeddings.weight)])
        for embeddings, table in (
            (model.user_embeddings, learner.user_table),
            (model.item_embeddings, learner.item_table),
            (model.context_embeddings, learner.context_table),
        )
    ]


def _optimizers(model: GMF, learner: Learner, device: torch.device) -> list[torch.optim.Optimizer]:
    settings = learner.settings
    assert model.item_biases is not None
    tables = _tables(model, learner)
    # Adagrad's eps is the step offset: both divide by offset + root of the accumulated squares.
    adagrad = torch.optim.Adagrad(
        [weight for weight, _, _ in tables], lr=LATER_PASS_RATE * settings.learning_rate, eps=settings.step_offset
    )
    for weight, _, accumulators in tables:
        adagrad.state[weight]["sum"].copy_(torch.from_numpy(accumulators).to(device)[:, None].expand_as(weight))
    biases = torch.optim.SGD(model.item_biases.parameters(), lr=LATER_PASS_RATE * settings.bias_rate)
    return [adagrad, biases]


def _give_back(model: GMF, learner: Learner) -> None:
    # Accumulators stay what streaming left: those of summed gradients would slow down the stream that follows.
    assert model.item_biases is not None
    for weight, embeddings, _ in _tables(model, learner):
        embeddings[:] = weight.detach().cpu().numpy()
    learner.biases()[:] = model.item_biases.weight.detach().squeeze(1).cpu().numpy()
