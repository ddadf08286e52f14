"""Packed rows teach what padded rows teach, and models that mix them up are found out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from camelid_core.errors import ConfigError
from camelid_core.tokenization.encoder import IGNORE, Example
from camelid_train.loop.acceleration import should_pack, use_fast_attention
from camelid_train.loop.batches import Collator
from camelid_train.loop.loss import label_loss
from camelid_train.loop.packing import is_packing_exact, pack_rows, row_lengths
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, MistralConfig

PAD = 2
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def batch(lengths: list[int], first_labelled: bool = False) -> dict[str, torch.Tensor]:
    """Rows that hold and end with the padding token; half of each is labelled."""
    rows = []
    for length in lengths:
        ids = [3 + (7 * place + length) % 400 for place in range(length - 1)] + [PAD]
        known = 0 if first_labelled else length // 2
        rows.append(Example(ids, [IGNORE] * known + ids[known:]))
    return Collator(PAD)(rows)


@given(LENGTHS)
def test_padding_goes_and_everything_else_stays(lengths):
    padded = batch(lengths)
    found = row_lengths(**padded, pad_id=PAD)
    assert found.tolist() == lengths
    packed = pack_rows(**padded, lengths=found)
    assert packed["input_ids"].shape == packed["labels"].shape == (1, sum(lengths))
    assert packed["position_ids"].tolist() == [[place for length in lengths for place in range(length)]]
    rows = [ids[:length] for ids, length in zip(padded["input_ids"].tolist(), lengths, strict=True)]
    assert packed["input_ids"].tolist() == [[token for row in rows for token in row]]
    counted = (padded["labels"][:, 1:] != IGNORE).sum()
    assert (packed["labels"][:, 1:] != IGNORE).sum() == counted


def test_of_no_rows_a_token_stays_so_that_there_is_a_step():
    empty = Collator(PAD)([])
    packed = pack_rows(**empty, lengths=row_lengths(**empty, pad_id=PAD))
    assert packed["input_ids"].shape == (1, 1)
    assert (packed["labels"] == IGNORE).all()


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model(request, base):
    return AutoModelForCausalLM.from_pretrained(base(request.param), dtype=torch.float32).eval()


@given(LENGTHS)
@settings(max_examples=10)
def test_loss_and_gradients_are_those_of_padded_rows(model, lengths):
    """Right padding without a mask is itself tested against a mask, in test_loss."""
    padded = batch([length + 2 for length in lengths], first_labelled=True)
    packed = pack_rows(**padded, lengths=row_lengths(**padded, pad_id=PAD))
    results = []
    for inputs in (padded, packed):
        loss = label_loss(model, **inputs) / 10
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_a_block_diagonal_mask_written_out_gives_the_same(model):
    packed = pack_rows(**batch([5, 3, 6]), lengths=torch.tensor([5, 3, 6]))
    blocks = torch.block_diag(*(torch.ones(length, length).tril() for length in (5, 3, 6)))
    mask = torch.zeros(1, 1, 14, 14).masked_fill(blocks == 0, torch.finfo(torch.float32).min)
    ids, positions = packed["input_ids"], packed["position_ids"]
    with torch.no_grad():
        masked = model(input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False).logits
        ours = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    torch.testing.assert_close(ours, masked, rtol=1e-5, atol=1e-5)


def test_models_that_tell_rows_apart_are_told_from_those_that_do_not(base):
    def of(family: str):
        return AutoModelForCausalLM.from_pretrained(base(family), dtype=torch.float32)

    assert all(is_packing_exact(of(family)) for family in ("llama", "qwen2", "gpt_neox", "gemma"))
    bloom = of("bloom")
    assert not is_packing_exact(bloom)
    virtual = get_peft_model(of("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    assert not is_packing_exact(virtual)
    assert not should_pack("auto", bloom)
    assert not should_pack("off", bloom)
    with pytest.raises(ConfigError, match="'bloom' models"):
        should_pack("on", bloom)
    assert should_pack("on", of("llama"))
    plain = of("llama")
    assert not should_pack("auto", plain)
    use_fast_attention(plain)
    assert should_pack("auto", plain)
    compiled = of("llama")
    use_fast_attention(compiled, compiled=True)
    assert not should_pack("auto", compiled)


def windowed() -> Any:
    """A model that looks back fewer tokens than the longest row has."""
    sizes = {"vocab_size": 512, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return AutoModelForCausalLM.from_config(MistralConfig(**sizes, **heads, sliding_window=4)).float()


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_neox", "gemma", "windowed"])
def test_one_row_after_the_other_is_what_each_row_gives_alone(base, family):
    known = family != "windowed"
    model = AutoModelForCausalLM.from_pretrained(base(family), dtype=torch.float32) if known else windowed()
    padded = batch([5, 1, 9, 3], first_labelled=True)
    results = []
    for packed in (False, True):
        if packed:
            use_fast_attention(model)
        inputs = pack_rows(**padded, lengths=row_lengths(**padded, pad_id=PAD)) if packed else padded
        loss = label_loss(model, **inputs)
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_a_model_with_attention_row_by_row_still_answers_with_padding_and_is_saved_without_it(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(base("llama"), dtype=torch.float32).eval()
    ids, mask = torch.tensor([[9, 8, 7, 6], [PAD, PAD, 5, 4]]), torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])
    options = {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD}
    before = model.generate(ids, **options)
    use_fast_attention(model)
    assert model.generate(ids, **options).tolist() == before.tolist()
    model.save_pretrained(tmp_path)
    assert "rowwise" not in (tmp_path / "config.json").read_text()
