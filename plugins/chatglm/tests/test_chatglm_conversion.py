"""ChatGLM-6B: converted weights compute what the original formulas do, by every way the model is called."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host

from .originals import HEADS, ice_ids, make_chatglm, original_weights
from .reference_chatglm import logits_of

IDS = ice_ids()
MARKS = {"mask_token": IDS["[MASK]"], "gmask_token": IDS["[gMASK]"], "sop": IDS["<sop>"]}
GMASK, MASK, SOP = IDS["[gMASK]"], IDS["[MASK]"], IDS["<sop>"]
ROWS = {
    "prompt and answer": [200, 201, 202, GMASK, SOP, 210, 211, 212],
    "no prompt": [GMASK, SOP, 210, 211],
    "a blank in the middle": [200, MASK, 201, 202, SOP, 210, 211],
    "both": [200, MASK, 201, GMASK, SOP, 210],
    "long": [*range(150, 300), GMASK, SOP, *range(200, 260)],
}


def expected(weights, row, layers=2):
    return logits_of(weights, row, layers, HEADS, **MARKS)


@pytest.fixture(scope="module")
def weights(original):
    return original_weights(original)


@pytest.fixture(scope="module")
def model(converted):
    return load_base(resolve_model(str(converted), load_host()), "float32").eval()


@torch.no_grad()
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_are_those_of_the_original_formulas(model, weights, row, attention):
    model.set_attn_implementation(attention)
    assert (model(torch.tensor([row])).logits[0] - expected(weights, row)).abs().max() < 1e-5


@torch.no_grad()
def test_prefix_attention_and_both_positions_matter(model, weights, monkeypatch):
    """What the tests above would not notice is no proof: causal attention, and one kind of position, are far off."""
    from camelid_chatglm import model as module

    row, exact = ROWS["prompt and answer"], expected(weights, ROWS["prompt and answer"])
    layout = module.row_layout

    def off(change):
        monkeypatch.setattr(module, "row_layout", lambda *given: change(layout(*given)))
        return float((model(torch.tensor([row])).logits[0] - exact).abs().max())

    assert off(lambda one: one._replace(blocks=torch.full_like(one.blocks, -1))) > 1e-2
    assert off(lambda one: one._replace(positions=one.positions.flip(1))) > 1e-2
    assert off(lambda one: one) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_kv_cache_changes_nothing(model, weights, row):
    begin = row.index(SOP) + 1
    output = model(torch.tensor([row[:begin]]), use_cache=True)
    logits = [output.logits[0]]
    for token in row[begin:]:
        output = model(torch.tensor([[token]]), past_key_values=output.past_key_values, use_cache=True)
        logits.append(output.logits[0])
    assert (torch.cat(logits) - expected(weights, row)).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(model, weights, side):
    """Right padding also without a mask, as training has it."""
    longest = max(map(len, ROWS.values()))
    pads = {name: [IDS["<pad>"]] * (longest - len(row)) for name, row in ROWS.items()}
    ids = torch.tensor([pads[name] + row if side == "left" else row + pads[name] for name, row in ROWS.items()])
    mask = (ids != IDS["<pad>"]).long()
    for logits in (model(ids, attention_mask=mask).logits, *([model(ids).logits] if side == "right" else [])):
        for found, kept, row in zip(logits, mask.bool(), ROWS.values(), strict=True):
            assert (found[kept] - expected(weights, row)).abs().max() < 1e-5


@torch.no_grad()
def test_generate_with_a_cache_and_without_gives_the_tokens_that_the_formulas_do(model, weights):
    row = [200, 201, 202, GMASK, SOP]
    own = list(row)
    for _ in range(12):
        own.append(int(expected(weights, own)[-1].argmax()))
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": -1}
    for use_cache in (True, False):
        assert model.generate(torch.tensor([row]), use_cache=use_cache, **settings)[0].tolist() == own
    beams = [model.generate(torch.tensor([row]), num_beams=3, use_cache=each, **settings) for each in (True, False)]
    assert torch.equal(*beams)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ([200, 201], {}),
        ([200, 201, SOP, 202], {}),
        ([SOP, GMASK, 202], {}),
        ([200, GMASK, SOP], {"attention_mask": torch.ones(1, 1, 3, 3)}),
    ],
)
def test_what_has_no_prompt_is_refused_and_never_read_as_plain_causal(model, row, options):
    with pytest.raises(ValueError, match="ChatGLM-6B"):
        model(torch.tensor([row]), **options)
    with pytest.raises(ValueError, match="ChatGLM-6B needs input_ids"):
        model(inputs_embeds=torch.zeros(1, 3, 32))


def test_gradients_with_recomputed_activations_are_the_same(model):
    ids = torch.tensor([ROWS["prompt and answer"]])
    gradients = []
    for recompute in (False, True):
        (model.activation_checkpointing_enable if recompute else model.activation_checkpointing_disable)()
        model.train().zero_grad()
        model(ids, labels=ids, use_cache=False).loss.backward()
        gradients.append(model.transformer.layers[0].attention.query_key_value.weight.grad.clone())
    model.activation_checkpointing_disable()
    model.eval()
    assert torch.equal(*gradients)
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize("tied", [True, False])
def test_the_output_layer_is_one_with_the_embeddings_where_the_files_say_so(convert, tmp_path, tied):
    source = make_chatglm(tmp_path / "original", tied=tied)
    output = convert(source, tmp_path / "converted")
    assert json.loads((output / "config.json").read_text())["tie_word_embeddings"] is tied
    model = load_base(resolve_model(str(output), load_host()), "float32").eval()
    row = ROWS["prompt and answer"]
    with torch.no_grad():
        assert (model(torch.tensor([row])).logits[0] - expected(original_weights(source), row)).abs().max() < 1e-5
