"""The loss in chunks is torch's cross-entropy, with its gradients, whatever the chunk, the layer and the format."""

from __future__ import annotations

import pytest
import torch
from camelid_core.tokenization.encoder import IGNORE
from camelid_train.loop import cross_entropy
from camelid_train.loop.loss import _ends_with_head, label_loss
from torch.nn import functional
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM

VOCABULARY, WIDTH = 50, 8


@pytest.fixture(params=[1, 7, 10**6])
def chunk(request, monkeypatch):
    monkeypatch.setattr(cross_entropy, "_CHUNK", request.param * VOCABULARY)


def made(rows: int, learning: bool, bias: bool):
    hidden = torch.randn(rows, WIDTH, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, requires_grad=learning)
    shift = torch.randn(VOCABULARY, requires_grad=learning) if bias else None
    return hidden, weight, shift, torch.randint(0, VOCABULARY, (rows,))


@pytest.mark.parametrize("rows", [0, 1, 20])
@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_from_hidden(chunk, rows, learning, bias):
    hidden, weight, shift, targets = made(rows, learning, bias)
    learn = [each for each in (hidden, weight, shift) if each is not None and each.requires_grad]
    results = []
    for loss in (
        cross_entropy.sum_from_hidden(hidden, weight, shift, targets),
        functional.cross_entropy(functional.linear(hidden, weight, shift), targets, reduction="sum"),
    ):
        results.append([loss, *torch.autograd.grad(3 * loss, learn)])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 20])
def test_from_logits(chunk, rows):
    logits, targets = torch.randn(rows, VOCABULARY, requires_grad=True), torch.randint(0, VOCABULARY, (rows,))
    results = []
    for loss in (
        cross_entropy.sum_from_logits(logits, targets),
        functional.cross_entropy(logits, targets, reduction="sum"),
    ):
        results.append([loss, *torch.autograd.grad(3 * loss, logits)])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_the_sum_is_in_float32_and_the_gradient_close():
    hidden, weight, _, targets = made(20, False, False)
    half = hidden.detach().bfloat16().requires_grad_()
    loss = cross_entropy.sum_from_hidden(half, weight.bfloat16(), None, targets)
    plain = functional.cross_entropy(half.float() @ weight.bfloat16().float().T, targets, reduction="sum")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain.item(), rel=1e-2)
    (ours,), (theirs,) = torch.autograd.grad(loss, half), torch.autograd.grad(plain, half)
    assert (ours - theirs).float().norm() < 0.02 * theirs.float().norm()


def test_nothing_is_worked_out_for_a_gradient_that_nobody_asks_for():
    hidden, weight, _, targets = made(5, False, False)
    with torch.no_grad():
        loss = cross_entropy.sum_from_hidden(hidden, weight, None, targets)
    assert not loss.requires_grad


def test_a_model_that_bends_its_logits_is_seen_and_gets_its_own_loss(base):
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=60, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    assert not _ends_with_head(model, model.get_output_embeddings())
    plain = AutoModelForCausalLM.from_pretrained(base())
    assert _ends_with_head(plain, plain.get_output_embeddings())
    ids = torch.randint(3, 60, (2, 9))
    labels = ids.masked_fill(torch.arange(9) < 4, IGNORE)
    logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
    wanted = functional.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(label_loss(model, ids, labels), wanted)
