"""A stretched context goes along: from the recipe into the adapter's record, and into the merged model's own files."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.errors import ModelError
from camelid_core.models.loading import load_with_adapter
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.rope import context_length
from camelid_core.plugins import load_host
from camelid_train.config import Recipe
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.run import train
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

IDS = torch.arange(700)[None] % 300


@pytest.mark.parametrize(
    ("method", "kind"),
    [("lora", "linear"), ("lora", "dynamic"), ("lora", "yarn"), ("full", "linear"), ("qlora", "linear")],
)
def test_what_was_trained_stretched_stays_stretched(attempt, recipe, method, kind):
    run = attempt(job=1)
    train(recipe(f"model.rope={kind}:4", f"method.type={method}", "train.max_steps=2"), run)
    assert run.manifest["rope_scaling"]["rope_type"] == kind
    assert run.manifest["rope_scaling"]["factor"] == 4.0
    resolved = resolve_model(str(run.output), load_host())
    assert context_length(resolved.config) == 2048
    with torch.inference_mode():
        tuned = load_with_adapter(resolved, "float32")(input_ids=IDS).logits
        if method != "full":
            merged = attempt(job=2)
            merge(MergeConfig(adapter=str(run.output)), merged)
            run = merged
        written = json.loads((run.output / "config.json").read_text())
        assert written["rope_scaling"] == {**written["rope_parameters"], "type": kind}
        assert written["rope_theta"] == written["rope_parameters"]["rope_theta"]
        plain = AutoModelForCausalLM.from_pretrained(run.output, dtype=torch.float32)
        assert (plain(input_ids=IDS).logits - tuned).abs().max() <= 1e-3
    config = json.loads((run.output / "config.json").read_text())
    assert (config["rope_parameters"]["rope_type"], config["rope_parameters"]["factor"]) == (kind, 4.0)
    assert context_length(config) == 2048


def test_nothing_is_stretched_without_being_asked(attempt, recipe, base):
    run = attempt(job=1)
    train(recipe("train.max_steps=1"), run)
    assert resolve_model(str(run.output), load_host()).config == resolve_model(str(base()), load_host()).config


def test_a_model_without_rotary_positions_says_so_before_any_work(attempt, recipe):
    with pytest.raises(ModelError, match=r"no rotary positions to scale, and none are needed; leave model\.rope empty"):
        train(recipe("model.rope=linear:4", family="bloom"), attempt())


def test_a_wrong_word_is_refused_where_it_stands():
    with pytest.raises(ValidationError, match="dynamic:4"):
        Recipe.model_validate({"model": {"rope": "twice"}})
