"""Several adapters merged together: the weighted sum of what each changes, and the published ways beyond a sum."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.config import validate
from camelid_core.errors import ConfigError, ModelError
from camelid_train.export.combination import combined
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig, WeightedAdapter
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

JOBS = count(1)
KINDS = {
    "lora": {"target_modules": ["q_proj", "down_proj"]},
    "rslora": {"target_modules": ["q_proj", "v_proj"], "use_rslora": True, "r": 2},
    "dora": {"target_modules": ["q_proj", "k_proj"], "use_dora": True, "r": 3},
}


@pytest.fixture
def three(adapter, base, tmp_path):
    return [
        adapter(base(), tmp_path / name, seed=seed, **options) for seed, (name, options) in enumerate(KINDS.items())
    ]


def weights_of(base, directory=None):
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return (PeftModel.from_pretrained(model, directory).merge_and_unload() if directory else model).state_dict()


def merged(attempt, *adapters, **options):
    run = attempt(job=next(JOBS))
    metrics = merge(MergeConfig(adapter=str(adapters[0]), others=list(map(str, adapters[1:])), **options), run)
    return run.output, metrics


def test_a_sum_is_what_each_changes_times_its_weight(attempt, base, three):
    shares = (1.0, 0.5, -0.25)
    output, metrics = merged(attempt, *(f"{path}:{share}" for path, share in zip(three, shares, strict=True)))
    plain, alone = weights_of(base()), [weights_of(base(), path) for path in three]
    ours = load_file(output / "model.safetensors")
    for name, tensor in ours.items():
        expected = plain[name] + sum(s * (each[name] - plain[name]) for s, each in zip(shares, alone, strict=True))
        assert torch.allclose(tensor, expected, atol=1e-5), name
    assert metrics["layer_difference"] < 1e-5 < metrics["layer_effect"]
    manifest = verify_directory(output).manifest
    assert len(manifest.parameters["adapters"]) == 3
    assert "adapters merged together" in (output / "README.md").read_text()
    assert str(three[0].parent) not in (output / "README.md").read_text()


def test_one_adapter_may_have_a_weight(attempt, base, three):
    output, _ = merged(attempt, f"{three[0]}:0.5")
    plain, whole = weights_of(base()), weights_of(base(), three[0])
    for name, tensor in load_file(output / "model.safetensors").items():
        assert torch.allclose(tensor, (plain[name] + whole[name]) / 2, atol=1e-5), name


@pytest.mark.parametrize("combine", ["ties", "dare", "dare-ties", "magnitude"])
def test_other_ways_are_repeatable_and_touch_what_some_adapter_touches(attempt, base, three, combine):
    options = {"combine": combine, "density": 0.4}
    first, again = (load_file(merged(attempt, *three, **options)[0] / "model.safetensors") for _ in range(2))
    plain, total = weights_of(base()), merged(attempt, *three)[0]
    changed = 0
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        if torch.equal(load_file(total / "model.safetensors")[name], plain[name]):
            assert torch.equal(tensor, plain[name])
        changed += not torch.equal(tensor, load_file(total / "model.safetensors")[name])
    assert changed


@given(st.integers(0, 2**31), st.sampled_from(["dare", "dare-ties"]))
def test_what_dare_drops_depends_on_seed_and_weight_alone(seed, combine):
    settings = MergeConfig(adapter="a", combine=combine, dare_seed=seed)
    changes = [torch.linspace(-1, 1, 64).reshape(8, 8) * sign for sign in (1, -1.5)]
    before = torch.get_rng_state()
    one, two = (combined(changes, [1.0, 1.0], settings, "layer.weight") for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(one, combined(changes, [1.0, 1.0], settings, "other.weight"))


def test_what_cannot_be_merged_together_says_why(attempt, adapter, base, three, tmp_path):
    head = adapter(base(), tmp_path / "head", target_modules=["q_proj"], modules_to_save=["lm_head"])
    other = adapter(base("qwen2"), tmp_path / "other", target_modules=["q_proj"])
    still = adapter(base(), tmp_path / "still", target_modules=["q_proj"], scale=0.0, init_lora_weights=True)
    for adapters, options, words in (
        ((three[0], head), {}, "modules_to_save"),
        ((three[0], other), {}, "need one base"),
        ((three[0], still), {}, "'.*still' changes nothing"),
        ((three[0], base()), {}, "full model already"),
        ((three[0], three[1]), {"memory": "whole"}, "layer by layer only"),
    ):
        with pytest.raises(ModelError, match=words):
            merged(attempt, *adapters, **options)


@pytest.mark.parametrize("weight", ["0", "11", "-11", "nan", "inf"])
def test_a_weight_out_of_bounds_is_refused(weight):
    with pytest.raises(ConfigError, match="between -10 and 10, and not 0"):
        validate(MergeConfig, {"adapter": f"a:{weight}"}, "the test")


@given(st.sampled_from(["chinese", "/a/b", "C:weird", "org/name"]), st.floats(0.01, 10), st.sampled_from([1, -1]))
def test_a_weighted_adapter_is_read_as_it_is_written(name, size, sign):
    weighted = WeightedAdapter(name, float(f"{size * sign:g}"))
    assert WeightedAdapter.parse(str(weighted)) == weighted
