"""LLaMA with ALiBi: what a token sees does not depend on how it is batched, cached or packed."""

from __future__ import annotations

import pytest
import torch
from camelid_baichuan.alibi_model import BaichuanAlibiConfig, BaichuanAlibiForCausalLM, alibi_slopes
from camelid_train.loop.packing import is_packing_exact
from camelid_train.loop.row_attention import ROWWISE
from hypothesis import given
from hypothesis import strategies as st

from . import reference_baichuan

CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = BaichuanAlibiConfig(
        vocab_size=64, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
        max_position_embeddings=16,
    )  # fmt: skip
    return BaichuanAlibiForCausalLM(config).eval()


@pytest.fixture(scope="module")
def ids():
    return torch.randint(64, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def whole(model, ids):
    with torch.no_grad():
        return model(ids).logits


@given(st.integers(1, 80))
def test_slopes_are_the_published_ones(heads):
    torch.testing.assert_close(torch.tensor(alibi_slopes(heads)), torch.tensor(reference_baichuan.slopes(heads)))


@pytest.mark.parametrize("attention", ["eager", "sdpa", ROWWISE])
def test_every_attention_adds_the_bias(model, ids, whole, attention):
    other = BaichuanAlibiForCausalLM(model.config)
    other.load_state_dict(model.state_dict())
    other.set_attn_implementation(attention)
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(ids).logits, whole, **CLOSE)
        assert not whole.allclose(_without_slopes(model, ids), atol=1e-3)


def _without_slopes(model, ids):
    """What it would be if the bias were lost."""
    import camelid_baichuan.alibi_model as module

    real = module.alibi_slopes
    module.alibi_slopes = lambda heads: [0.0] * heads
    try:
        return model(ids).logits
    finally:
        module.alibi_slopes = real


@pytest.mark.parametrize("cut", [1, 7, 23])
def test_what_is_cached_counts_as_before(model, ids, whole, cut):
    with torch.no_grad():
        first = model(ids[:, :cut], use_cache=True)
        rest = model(ids[:, cut:], past_key_values=first.past_key_values)
    torch.testing.assert_close(torch.cat([first.logits, rest.logits], 1), whole, **CLOSE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model, ids, whole, side):
    pads, ones = torch.zeros(2, 5, dtype=torch.long), torch.ones(2, 24, dtype=torch.long)
    parts, mask = ([pads, ids], [pads, ones]) if side == "left" else ([ids, pads], [ones, pads])
    with torch.no_grad():
        found = model(torch.cat(parts, 1), attention_mask=torch.cat(mask, 1)).logits
    torch.testing.assert_close(found[:, 5:] if side == "left" else found[:, :24], whole, **CLOSE)


def test_packed_rows_are_kept_apart(model):
    assert is_packing_exact(model)
    model.set_attn_implementation(ROWWISE)
    try:
        assert is_packing_exact(model)
    finally:
        model.set_attn_implementation("sdpa")
