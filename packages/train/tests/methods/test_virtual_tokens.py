"""Virtual tokens: padding on the right needs no attention mask, and labels meet the positions they belong to."""

from __future__ import annotations

import pytest
import torch
from camelid_core.errors import ModelError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.tokenization.encoder import IGNORE, Example
from camelid_train.loop.batches import Collator
from camelid_train.loop.loss import label_loss, mean_loss
from camelid_train.methods import MethodContext
from camelid_train.methods.registry import methods
from camelid_train.sections import read_method
from torch.nn import functional

FAMILIES = ("llama", "bloom", "gpt_neox", "qwen2", "gemma")
NAMES = ("prompt", "p-tuning", "prefix", "lora")
ROWS = [
    Example([5, 6, 7, 8, 9, 10, 11], [IGNORE, IGNORE, 7, 8, 9, 10, 11]),
    Example([12, 13, 14], [IGNORE, 13, 14]),
    Example([21, 22, 23, 24, 25], [IGNORE, IGNORE, IGNORE, IGNORE, 25]),
]


@pytest.fixture
def prepared(base):
    """A model with a method on it whose parameters have all moved."""

    def make(name: str, family: str = "llama", **fields):
        resolved = resolve_model(str(base(family)), load_host())
        section, method = read_method({"type": name, **fields}), methods()[name]
        model = method.prepare(method.load(resolved, "float32", section), section, MethodContext(resolved))
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
                elif parameter.ndim == 2:
                    parameter *= 4  # a fresh random model hardly listens to what stands before
        return model.eval()

    return make


def row_by_row(model) -> float:
    """The loss as the library gives it, one unpadded row at a time."""
    total = 0.0
    for row in ROWS:
        logits = model(input_ids=torch.tensor([row.input_ids]), use_cache=False).logits[0, -len(row.input_ids) :]
        targets = torch.tensor(row.labels[1:])
        total += float(functional.cross_entropy(logits[:-1], targets, ignore_index=IGNORE, reduction="sum"))
    return total


def masked(model) -> float:
    """The loss as the library gives it for the padded batch with an attention mask."""
    batch = Collator(0)(ROWS)
    mask = torch.tensor([[n < len(row.input_ids) for n in range(7)] for row in ROWS]).long()
    logits = model(input_ids=batch["input_ids"], attention_mask=mask, use_cache=False).logits[:, -7:]
    targets = batch["labels"][:, 1:]
    return float(
        functional.cross_entropy(logits[:, :-1].transpose(1, 2), targets, ignore_index=IGNORE, reduction="sum")
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_padded_batch_without_a_mask_gives_the_loss_of_its_rows(prepared, name, family):
    model = prepared(name, family)
    ours = float(label_loss(model, **Collator(0)(ROWS)))
    assert ours == pytest.approx(row_by_row(model), rel=1e-5)
    assert ours == pytest.approx(masked(model), rel=1e-5)
    with model.disable_adapter():
        assert abs(row_by_row(model) - ours) > 1e-2
    assert mean_loss(model, ROWS, 0, 2) * 8 == pytest.approx(ours, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_a_padded_batch_are_those_of_its_rows(prepared, name):
    model = prepared(name)
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    together = torch.autograd.grad(label_loss(model, **Collator(0)(ROWS)), learning, allow_unused=True)
    apart = torch.autograd.grad(
        sum(label_loss(model, **Collator(0)([row])) for row in ROWS), learning, allow_unused=True
    )
    assert any(gradient is not None for gradient in together)
    for ours, theirs in zip(together, apart, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.allclose(ours, theirs, atol=1e-4)


def test_more_virtual_tokens_than_the_model_can_see_are_refused(prepared):
    with pytest.raises(ModelError, match=r"method\.tokens=512 fills the model's whole context of 512 tokens"):
        prepared("prompt", tokens=512)
