"""`[method] type` chooses through the hook: a plugin's tuning method works in a recipe without a line changed."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Literal

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.config import load
from camelid_core.errors import ConfigError, PluginError
from camelid_core.hooks import hookimpl
from camelid_core.plugins import Host, Plugin, load_host
from camelid_train import sections
from camelid_train.config import Recipe
from camelid_train.methods import Method, TuningMethod, registry
from camelid_train.methods.registry import methods
from camelid_train.methods.virtual_tokens import VirtualTokens
from camelid_train.objectives import LearningObjective
from camelid_train.run import train
from pydantic import Field


class NormsMethod(Method):
    """Only the norms learn."""

    type: Literal["norms"] = "norms"
    gain: float = Field(1.0, gt=0)
    """What the norms are multiplied by first."""


class Norms(TuningMethod[NormsMethod]):
    name = "norms"
    help = "Only the norms learn."
    config = NormsMethod
    kind = "model"

    def prepare(self, model, section, method_context):
        model.requires_grad_(False)
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.requires_grad_(True)
                parameter.data *= section.gain
        return model


def host_with(hook, give):
    """A host with one more plugin, as if its distribution were installed."""
    module = ModuleType("camelid_norms")
    setattr(module, hook, hookimpl(give))
    getattr(module, hook).__name__ = hook
    host = Host()
    host.load([*load_host().plugins, Plugin("camelid-norms", "1.0", module)])
    return host


@pytest.fixture
def plugin(monkeypatch):
    host = host_with("camelid_tuning_methods", lambda: [Norms()])
    for module in (registry, sections):
        monkeypatch.setattr(module, "load_host", lambda: host)
    return host


@pytest.mark.parametrize(
    ("hook", "base", "missing"),
    [
        ("camelid_tuning_methods", TuningMethod, "prepare"),
        ("camelid_tuning_methods", VirtualTokens, "peft_config"),
        ("camelid_objectives", LearningObjective, "heldout_loss"),
    ],
)
def test_what_a_plugins_author_forgot_is_named_when_the_plugin_is_loaded(hook, base, missing):
    forgetful = type("Forgetful", (base,), {"name": "forgetful", "trainer": lambda *_: None})
    host = host_with(hook, lambda: [forgetful()])
    host.check()
    (problem,) = host.problems
    assert problem.plugin == "camelid-norms"
    assert problem.message.startswith(f"{hook} failed: TypeError: Can't instantiate abstract class Forgetful")
    assert missing in problem.message


def test_a_method_whose_plugin_is_broken_is_the_plugins_fault_and_not_the_recipes(monkeypatch):
    def fails():
        raise KeyError("z")

    host = host_with("camelid_tuning_methods", fails)
    for module in (registry, sections):
        monkeypatch.setattr(module, "load_host", lambda: host)
    with pytest.raises(PluginError, match=r"'norms' .*camelid-norms: camelid_tuning_methods failed: KeyError: 'z'"):
        Recipe.model_validate({"method": {"type": "norms"}})


def test_a_plugins_method_trains_from_a_recipe_file(plugin, attempt, recipe, tmp_path):
    assert plugin.problems == []
    path = tmp_path / "recipe.toml"
    path.write_text('[method]\ntype = "norms"\ngain = 0.9\n')
    section = load(Recipe, path).method
    assert section == NormsMethod(gain=0.9)
    run = attempt()
    config = recipe("train.max_steps=4").model_copy(update={"method": section})
    metrics = train(Recipe.model_validate(config.model_dump(mode="json")), run)
    assert metrics["eval_loss"] < metrics["base_eval_loss"]
    manifest = verify_directory(run.output).manifest
    assert (manifest.kind, manifest.parameters["method"]) == ("model", {"type": "norms", "gain": 0.9})
    from transformers import AutoModelForCausalLM

    norm = AutoModelForCausalLM.from_pretrained(run.output, dtype=torch.float32).model.norm.weight
    assert (norm != 1).all()


def test_its_hyperparameters_are_bounded_and_named_like_ours(plugin):
    for text, sentence in (
        ("method.gain=0", "method.gain: Input should be greater than 0"),
        ("method.gian=1", r"method.gian: unknown key for 'norms'\. Did you mean 'gain'\? Known: gain, type"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            Recipe().with_overrides(["method.type=norms", text])


def test_a_method_that_is_not_there_is_a_sentence_with_those_that_are():
    with pytest.raises(ConfigError, match=r"tuning method 'norms' is not known.* Known: adalora, full"):
        Recipe().with_overrides(["method.type=norms"])


def test_every_method_names_itself_alike_everywhere():
    for method in methods():
        assert method.name == method.config().type
        assert method.help.endswith(".")
        assert "." in (method.config.__doc__ or "")


def test_the_methods_load_no_torch():
    read = "from camelid_train.methods.registry import methods; methods().names()"
    code = f"{read}; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
