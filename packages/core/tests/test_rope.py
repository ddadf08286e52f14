"""Scaled rotary positions: the configuration they mean, and that an adapter keeps those it was trained with."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.artefacts import Manifest
from camelid_core.errors import ModelError, UsageError
from camelid_core.models.loading import load_base, with_rope_scaling
from camelid_core.models.resolved_model import resolve_model, with_trained_rope
from camelid_core.models.rope import RopeScaling, context_length, rope_parameters
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return resolve_model(str(tiny_model(tmp_path_factory.mktemp("rope") / "llama")), load_host())


def angles(resolved, positions):
    """Cosines and sines of the loaded model at `positions`."""
    model = load_base(resolved, "float32")
    return torch.cat(model.model.rotary_emb(torch.zeros(1), torch.tensor([positions])))


def frequencies(model):
    (found,) = (buffer for name, buffer in model.named_buffers() if name.endswith(".inv_freq"))
    return found


@given(st.sampled_from(["linear", "dynamic", "yarn"]), st.floats(1.001, 1024))
def test_what_is_written_is_read(kind, factor):
    assert RopeScaling.parse(f"{kind}:{factor!r}") == RopeScaling(kind, factor)


@pytest.mark.parametrize(
    "text", ["", "linear", "linear:", "linear:1", "linear:0", "linear:-4", "linear:nan", "linear:1e9", "pi:4"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match="linear:4"):
        RopeScaling.parse(text)


def test_position_interpolation_is_division(tiny):
    """At a quarter of the pace, position 4p is where p was; 2048 of the longer context is 512 of the shorter."""
    stretched = with_rope_scaling(tiny, RopeScaling("linear", 4.0))
    there = list(range(0, 512, 7))
    assert torch.equal(angles(stretched, [4 * place for place in there]), angles(tiny, there))
    assert stretched.config["max_position_embeddings"] == 4 * tiny.config["max_position_embeddings"]


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_a_stretched_model_is_saved_and_found_as_such(tiny, tmp_path, kind):
    stretched = with_rope_scaling(tiny, RopeScaling(kind, 4.0))
    model = load_base(stretched, "float32")
    model.save_pretrained(tmp_path)
    again = resolve_model(str(tmp_path), load_host())
    assert rope_parameters(again.config)["rope_type"] == kind
    assert context_length(again.config) == 2048
    ids = torch.arange(700)[None] % 300
    with torch.inference_mode():
        assert torch.equal(load_base(again, "float32")(input_ids=ids).logits, model(input_ids=ids).logits)
    with pytest.raises(ModelError, match="scaled already"):
        with_rope_scaling(again, RopeScaling("linear", 2.0))


def test_dynamic_scaling_begins_where_the_trained_positions_end(tiny):
    """Transformers reads from `max_position_embeddings` where that is, so it must stay what the base has."""
    stretched, plain = (
        load_base(with_rope_scaling(tiny, RopeScaling("dynamic", 4.0)), "float32"),
        load_base(tiny, "float32"),
    )
    with torch.inference_mode():
        within, beyond = (
            torch.equal(stretched(input_ids=ids).logits, plain(input_ids=ids).logits)
            for ids in (torch.arange(512)[None] % 300, torch.arange(520)[None] % 300)
        )
    assert (within, beyond) == (True, False)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
def test_an_adapter_brings_the_scaling_it_was_trained_with(tiny, tmp_path, kind):
    from dataclasses import replace

    trained = with_rope_scaling(tiny, RopeScaling(kind, 4.0))
    manifest = Manifest(kind="adapter", rope_scaling=rope_parameters(trained.config))
    assert with_trained_rope(replace(tiny, adapter_dir=tmp_path, manifest=manifest)).config == trained.config
    plain = Manifest(kind="adapter", rope_scaling=rope_parameters(tiny.config))
    assert with_trained_rope(replace(tiny, adapter_dir=tmp_path, manifest=plain)).rope_scaled is False


OLDER = {
    "llama": {},
    "gpt_neox": {"rotary_emb_base": 20000, "rotary_pct": 0.25},
    "phi": {"rope_theta": 10000.0, "partial_rotary_factor": 0.4},
    "glm": {"rope_theta": 10000.0, "partial_rotary_factor": 0.5},
}
"""What `config.json` said of rotary positions when Transformers 4 wrote it; LLaMA's named no theta before 4.31."""


@pytest.mark.parametrize(("family", "said"), OLDER.items())
def test_older_files_are_stretched_in_all_that_they_leave_unsaid(tmp_path, family, said):
    directory = tiny_model(tmp_path / "base", family)
    config = json.loads((directory / "config.json").read_text())
    del config["rope_parameters"]
    (directory / "config.json").write_text(json.dumps(config | said | {"rope_scaling": None}))
    base = resolve_model(str(directory), load_host())
    stretched = load_base(with_rope_scaling(base, RopeScaling("linear", 4.0)), "float32")
    stretched.save_pretrained(tmp_path / "again")
    again = resolve_model(str(tmp_path / "again"), load_host())
    plain = frequencies(load_base(base, "float32"))
    for model in (stretched, load_base(again, "float32")):
        assert torch.equal(frequencies(model), plain / 4)
    assert context_length(again.config) == 2048


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("falcon", {"alibi": True}),  # the theta beside it is never read
        ("gemma3_text", {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}}),
    ],
)
def test_positions_that_are_not_one_rotation_are_refused(tmp_path, family, said):
    config = {"model_type": family, "num_hidden_layers": 2, "max_position_embeddings": 512, "rope_theta": 1e4, **said}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"; leave model\.rope empty"):
        with_rope_scaling(resolve_model(str(tmp_path), load_host()), RopeScaling("linear", 4.0))


def test_a_model_without_rotary_positions_is_refused(tmp_path):
    bloom = resolve_model(str(tiny_model(tmp_path, "bloom")), load_host())
    with pytest.raises(ModelError, match="no rotary positions"):
        with_rope_scaling(bloom, RopeScaling("linear", 4.0))


def test_older_configurations_say_the_same_in_other_words():
    old = {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}
    assert rope_parameters(old) == {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
    assert rope_parameters({"n_layer": 2}) is None
