"""GMF scores what it says, and its index order is its own order."""

import numpy as np
import pytest
import torch

from models.gmf import GMF

USERS, ITEMS, D = 5, 40, 8


def gmf(**options) -> GMF:
    model = GMF(USERS, ITEMS, D, scale=1.0, generator=torch.Generator().manual_seed(3), **options)
    with torch.no_grad():
        model.head.copy_(torch.linspace(-1.0, 2.0, D))
        if model.item_biases is not None:
            model.item_biases.weight.copy_(torch.linspace(0, 1, ITEMS)[:, None])
    return model


def test_without_context_and_biases_it_is_the_papers_gmf():
    model = gmf()
    users, items = torch.tensor([0, 4]), torch.tensor([[1, 2, 39], [7, 7, 0]])
    p, q = model.user_embeddings.weight[users], model.item_embeddings.weight[items]
    expected = torch.nn.functional.linear(p[:, None] * q, model.head[None]).squeeze(-1)
    assert {name for name, _ in model.named_parameters()} == {
        "user_embeddings.weight",
        "item_embeddings.weight",
        "head",
    }
    torch.testing.assert_close(model(users, items), expected)
    # A recent list changes nothing when there is no context.
    torch.testing.assert_close(model(users, items, torch.tensor([[3], [3]])), expected)


def test_context_counts_the_newest_most_and_missing_ones_not_at_all():
    model = gmf(context=True, biases=True, context_decay=0.5)
    user, items = torch.tensor([2]), torch.tensor([[5, 6]])
    c, q = model.context_embeddings.weight, model.item_embeddings.weight
    x = model.user_embeddings.weight[2] + c[9] + 0.5 * c[1]
    expected = (q[items[0]] @ (model.head * x) + model.item_biases.weight[items[0], 0])[None]
    torch.testing.assert_close(model(user, items, torch.tensor([[9, 1, -1, -1]])), expected)
    assert not torch.allclose(model(user, items, torch.tensor([[1, 9]])), expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_shared_items_score_as_own_items(batch):
    model = gmf(context=True, biases=True)
    users, shared = torch.arange(batch), torch.tensor([4, 8, 15, 16])
    recent = torch.tensor([[1, 2, -1]]).expand(batch, 3)
    scores = model(users, shared, recent)
    assert scores.shape == (batch, 4)
    torch.testing.assert_close(scores, model(users, shared.expand(batch, 4), recent))


@pytest.mark.parametrize("options", [{}, {"context": True, "biases": True}])
def test_the_index_order_is_the_models_order(options):
    model = gmf(**options)
    users, recent = torch.arange(USERS), torch.tensor([[3, 1, -1]]).expand(USERS, 3)
    with torch.no_grad():
        scores = model(users, torch.arange(ITEMS), recent).numpy()
        query = np.hstack([model.query(users, recent).numpy(), np.ones((USERS, 1), np.float32)])
        found = query @ model.item_vectors().numpy().T
        without_head = query[:, :D] @ model.item_embeddings.weight.numpy().T
    np.testing.assert_allclose(found, scores, atol=1e-5)
    assert (np.argsort(-found, axis=1)[:, :10] == np.argsort(-scores, axis=1)[:, :10]).all()
    assert (np.argsort(-without_head, axis=1)[:, :10] != np.argsort(-scores, axis=1)[:, :10]).any()


def test_only_touched_rows_have_a_gradient_and_a_frozen_head_none():
    model = gmf(context=True, biases=True)
    model.freeze_head()
    model(torch.tensor([1]), torch.tensor([[2, 3]]), torch.tensor([[4, -1]])).sum().backward()
    assert model.head.grad is None
    assert model.user_embeddings.weight.grad.coalesce().indices().tolist() == [[1]]
    assert model.item_embeddings.weight.grad.coalesce().indices().tolist() == [[2, 3]]
    assert model.item_biases.weight.grad.coalesce().indices().tolist() == [[2, 3]]
    # Row 0 stands in for missing ones, at weight zero.
    context = model.context_embeddings.weight.grad.coalesce()
    assert context.values()[context.indices()[0] == 0].abs().sum() == 0
