"""The loss at the labelled positions alone equals the plain one over all logits with an attention mask."""

from __future__ import annotations

import random

import pytest
import torch
from camelid_core.tokenization.encoder import IGNORE, Example
from camelid_train.loop.batches import Collator
from camelid_train.loop.loss import label_loss, mean_loss, row_losses
from torch.nn import functional
from transformers import AutoModelForCausalLM

PAD = 2


@pytest.fixture(scope="module", params=["llama", "bloom", "gpt_neox", "qwen2"])
def model(request, base):
    return AutoModelForCausalLM.from_pretrained(base(request.param), dtype=torch.float32).eval()


def examples(count: int = 5) -> list[Example]:
    chance = random.Random(0)
    made = []
    for _ in range(count):
        ids = [chance.randrange(3, 400) for _ in range(chance.randrange(4, 30))]
        prompt = chance.randrange(1, len(ids) - 1)
        made.append(Example(ids, [IGNORE] * prompt + ids[prompt:]))
    return made


def plain_loss(model, rows: list[Example]) -> torch.Tensor:
    """Cross-entropy as every tutorial writes it."""
    batch = Collator(PAD)(rows)
    longest = batch["input_ids"].shape[1]
    mask = torch.tensor([[1] * len(row.input_ids) + [0] * (longest - len(row.input_ids)) for row in rows])
    logits = model(input_ids=batch["input_ids"], attention_mask=mask).logits[:, :-1]
    targets = batch["labels"][:, 1:]
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum")


@torch.no_grad()
def test_it_equals_the_plain_loss_with_an_attention_mask(model):
    rows = examples()
    torch.testing.assert_close(label_loss(model, **Collator(PAD)(rows)), plain_loss(model, rows), rtol=1e-5, atol=1e-5)


def test_its_gradient_is_the_plain_ones(model):
    rows = examples()
    weight = model.get_input_embeddings().weight
    gradients = []
    for loss in (label_loss(model, **Collator(PAD)(rows)), plain_loss(model, rows)):
        (gradient,) = torch.autograd.grad(loss, weight)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_padding_changes_nothing(model):
    rows = examples()
    alone = sum(label_loss(model, **Collator(PAD)([row])) for row in rows)
    torch.testing.assert_close(label_loss(model, **Collator(PAD)(rows)), alone, rtol=1e-5, atol=1e-5)
    wide = {name: functional.pad(tensor, (0, 40), value=PAD if name == "input_ids" else IGNORE)
            for name, tensor in Collator(PAD)(rows).items()}  # fmt: skip
    torch.testing.assert_close(label_loss(model, **wide), alone, rtol=1e-5, atol=1e-5)
    other = {name: tensor.clone() for name, tensor in wide.items()}
    other["input_ids"][:, -40:] = 7
    torch.testing.assert_close(label_loss(model, **other), alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_it_leaves_the_model_as_it_was(model):
    head = model.get_output_embeddings()
    label_loss(model, **Collator(PAD)(examples()))
    assert not head._forward_pre_hooks
    with pytest.raises(IndexError):
        label_loss(model, torch.tensor([[10**6]]), torch.tensor([[1]]))
    assert not head._forward_pre_hooks


@pytest.mark.parametrize("size", [1, 2, 16])
def test_the_mean_is_per_labelled_token_whatever_the_batch_size(model, size):
    rows = examples()
    count = sum(label != IGNORE for row in rows for label in row.labels[1:])
    with torch.no_grad():
        expected = float(plain_loss(model, rows)) / count
    model.train()
    assert mean_loss(model, rows, PAD, size) == pytest.approx(expected, rel=1e-5)
    assert model.training
    model.eval()
    mean_loss(model, rows, PAD, size)
    assert not model.training


def test_the_mean_of_nothing_is_zero(model):
    assert mean_loss(model, [], PAD, 4) == 0


@pytest.mark.parametrize("size", [1, 3])
def test_the_loss_of_each_row_is_its_own_in_the_rows_order(model, size):
    rows = examples()
    found = row_losses(model, rows, PAD, size)
    assert [each.row for each in found] == list(range(len(rows)))
    for row, each in zip(rows, found, strict=True):
        assert each.tokens == sum(label != IGNORE for label in row.labels[1:])
        with torch.no_grad():
            assert each.loss == pytest.approx(float(label_loss(model, **Collator(PAD)([row]))), rel=1e-4, abs=1e-5)
