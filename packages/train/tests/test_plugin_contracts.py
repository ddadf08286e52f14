"""The contracts of methods, objectives and exporters: Camelid's own keep them, and each rule is broken by one here."""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import pytest
import torch
from camelid_core.hooks import hookimpl
from camelid_core.plugins import Host, Plugin, load_host
from camelid_train import sections
from camelid_train.export import exporter as exporter_module
from camelid_train.export.bitsandbytes import BITSANDBYTES, BitsandbytesExporter, BitsandbytesSection
from camelid_train.export.exporter import Exporter, ExportEstimate, ExportResult
from camelid_train.methods.full import Full
from camelid_train.methods.lora import Lora
from camelid_train.methods.registry import methods
from camelid_train.objectives import Objective, registry
from camelid_train.objectives.sft import SFT, Sft
from camelid_train.plugin_kit.section_rules import assert_section
from camelid_train.plugin_kit.written_files import assert_files
from camelid_train.sections import ExportSection, Method
from camelid_train.testing import assert_exporter_contract, assert_method_contract, assert_objective_contract

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:bitsandbytes")
RATES = {"full": 0.005, "adalora": 0.6, "ia3": 0.5, "prefix": 0.2, "prompt": 0.3}
"""Learning rates that suit a model of two layers."""


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning")  # AdaLoRA's differ
@pytest.mark.parametrize("name", sorted(set(methods().names()) - {"lora-gptq"}))
def test_our_methods_keep_the_contract(base, tmp_path, name):
    """The one on GPTQ bases needs such a base: tests/test_gptq.py makes an environment for it."""
    assert_method_contract(methods()[name], base(), tmp_path, learning_rate=RATES.get(name, 0.05))


class Untyped(Method):
    """Its type is any text."""

    type: str = "loud"


class Undocumented(Method):
    """One field has no docstring."""

    type: Literal["loud"] = "loud"
    rank: int = 1


class Demanding(Method):
    """One field has no default."""

    type: Literal["loud"] = "loud"
    rank: int
    """Rank."""


class Renamed(Method):
    """Chosen by another name."""

    type: Literal["quiet"] = "quiet"


class Silent(Method):
    type: Literal["loud"] = "loud"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("loud", "it is the class of the section"),
        (Objective, "Objective is no Method"),
        (Untyped, r'write type: Literal\["loud"\] = "loud"'),
        (Renamed, r'write type: Literal\["loud"\] = "loud"'),
        (Undocumented, "rank has no docstring"),
        (Demanding, r"no defaults that are valid: \('rank',\)"),
        (Silent, "Silent has no docstring"),
    ],
)  # fmt: skip
def test_a_section_that_cannot_be_chosen_or_shown_is_named(config, sentence):
    method = type("LoudMethod", (Full,), {"name": "loud", "config": config})()
    with pytest.raises(AssertionError, match=f"loud: .*{sentence}"):
        assert_section(method, Method)


def test_files_that_run_code_are_named(tmp_path):
    with pytest.raises(AssertionError, match="mine: it writes no files"):
        assert_files("mine", tmp_path)
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(AssertionError, match=r"mine: what it writes is not safe to read: 'model\.bin'"):
        assert_files("mine", tmp_path)
    (tmp_path / "model.bin").rename(tmp_path / "model.py")
    with pytest.raises(AssertionError, match=r"mine: it writes code, 'model\.py'"):
        assert_files("mine", tmp_path)


def broken(cls, /, **changes):
    """A method, objective or exporter of ours with something wrong."""
    return type("Broken", (cls,), changes)()


class Idle(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(3))


def with_idle_weights(self, model, section, context):
    model.idle = Idle(model)
    return model


def changing_frozen(self, model, step):
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(1.001)


def adding_at_restore(self, model, state):
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.1)


def head_alone(self, model, section, context):
    model.requires_grad_(False)
    model.get_output_embeddings().requires_grad_(True)
    return model


def on_changed_base(self, model, section, context):
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(2)
    return Lora.prepare(self, model, section, context)


def saved_unlearned(self, model, section, context, directory):
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    model.save_pretrained(directory)


def saved_as_pickle(self, model, section, context, directory):
    torch.save({}, directory / "model.pt")


def nothing_trained(self, model, section, context):
    return model.requires_grad_(False)


@pytest.mark.parametrize(
    ("method", "rate", "sentence"),
    [
        (broken(Full, prepare=lambda *_: None), 0.005, "prepare gives no model"),
        (broken(Full, prepare=nothing_trained), 0.005, "nothing learns after prepare"),
        (broken(Full, prepare=with_idle_weights), 0.005, "idle.unused is to learn and gets no gradient"),
        (broken(Full), 50.0, "the loss does not fall in 8 steps at 50"),
        (broken(Full, prepare=head_alone, after_step=changing_frozen), 0.005, "embed_tokens.weight is frozen, and"),
        (broken(Full, restore=adding_at_restore), 0.005, "restore of what state gave changes"),
        (broken(Lora, prepare=on_changed_base), 0.05, "with the adapter off the model is not its base"),
        (broken(Full, save=saved_as_pickle), 0.005, "what it writes is not safe to read: 'model.pt'"),
        (broken(Full, save=saved_unlearned), 0.005, "what was saved does not compute what was trained"),
        (broken(Full, kind="adapter", keeps_base=lambda *_: False), 0.005, "save writes no adapter_config.json"),
        (broken(Lora, kind="model"), 0.05, "save writes no config.json"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)  # fmt: skip
def test_a_broken_method_fails_with_its_name_and_what_is_wrong(base, tmp_path, method, rate, sentence):
    with pytest.raises(AssertionError, match=f"{method.name}: .*{sentence}"):
        assert_method_contract(method, base(), tmp_path, learning_rate=rate)


@pytest.fixture
def installed(monkeypatch):
    """`installed(hook, item)`: a host that has it in place of ours of that name."""

    def make(hook, item):
        ours = [each for each in load_host().registry(hook) if each.name != item.name]
        module = ModuleType("camelid_broken")
        setattr(module, hook, hookimpl(lambda: [item, *ours]))
        getattr(module, hook).__name__ = hook
        host = Host()
        host.load([Plugin("camelid-broken", "1.0", module), *load_host().plugins])
        for each in (registry, sections, exporter_module):
            monkeypatch.setattr(each, "load_host", lambda: host)
        return item

    return make


def test_sft_keeps_the_contract(base, sums, tmp_path):
    assert_objective_contract(SFT, base(), sums, tmp_path)


def forgetful(self, section, run):
    """Its trainer writes no checkpoints."""
    trainer = SFT.trainer(section, run)
    trainer._save_checkpoint = lambda *_: None
    return trainer


def drifting(self, section, run, trainer, calls=iter(range(1, 1000))):  # noqa: B008 - it changes from call to call
    return 10.0 / next(calls)


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (broken(Sft, one_epoch=lambda *_: (0, 5)), "an epoch without steps"),
        (broken(Sft, one_epoch=lambda *_: (5, 0)), "an epoch without rows"),
        (broken(Sft, extra_metrics={"margin": "reward_margin"}), "extra_metrics names 'reward_margin', and step 1"),
        (broken(Sft, heldout_loss=lambda *_: float("nan")), "the held-out loss before training is nan"),
        (broken(Sft, heldout_loss=lambda *_: 1.0), "the held-out loss does not fall"),
        (broken(Sft, heldout_loss=drifting), "when it is measured again"),
        (broken(Sft, trainer=forgetful), "nothing to resume from"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_broken_objective_fails_with_its_name_and_what_is_wrong(base, sums, tmp_path, installed, objective, sentence):
    installed("camelid_objectives", objective)
    with pytest.raises(AssertionError, match=f"sft: .*{sentence}"):
        assert_objective_contract(objective, base(), sums, tmp_path, ["train.preflight=false"])


def test_what_is_not_installed_is_named(base, sums, tmp_path):
    with pytest.raises(AssertionError, match="sft: Camelid does not find it; return it from camelid_objectives"):
        assert_objective_contract(broken(Sft), base(), sums, tmp_path)
    with pytest.raises(
        AssertionError, match="bitsandbytes: Camelid does not find it; return it from camelid_exporters"
    ):
        assert_exporter_contract(broken(BitsandbytesExporter), base(), tmp_path)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_our_exporter_keeps_the_contract(base, tmp_path, quantization):
    assert_exporter_contract(BITSANDBYTES, base(), tmp_path, BitsandbytesSection(quantization=quantization))


class CopySection(ExportSection):
    """A copy of the weights."""

    type: Literal["copy"] = "copy"


class Copy(Exporter[CopySection]):
    name = "copy"
    help = "A copy of the weights."
    config = CopySection
    kind = "model"

    def estimate(self, source, section):
        return ExportEstimate(size=(source.base / "model.safetensors").stat().st_size, memory=1)

    def export(self, source, section, context):
        context.progress(0, 1, "files", "copying")
        for name in ("model.safetensors", "config.json"):
            (context.output / name).write_bytes((source.base / name).read_bytes())
        return ExportResult()

    def load_line(self, path, section):
        return f'AutoModelForCausalLM.from_pretrained("{path}")'


def touching_source(self, source, section, context):
    (source.base / "touched.txt").write_text("x")
    return Copy.export(self, source, section, context)


def with_pickle(self, source, section, context):
    (context.output / "extra.pkl").write_bytes(b"x")
    return Copy.export(self, source, section, context)


def unstoppable(self, source, section, context):
    (context.output / "model.safetensors").write_bytes((source.base / "model.safetensors").read_bytes())
    return ExportResult()


def test_a_sound_exporter_passes(base, tmp_path, installed):
    assert_exporter_contract(installed("camelid_exporters", Copy()), base(), tmp_path)


@pytest.mark.parametrize(
    ("exporter", "sentence"),
    [
        (broken(Copy, choices=lambda *_: []), "it offers no choices"),
        (broken(Copy, choices=lambda *_: [BitsandbytesSection()]), "is no CopySection"),
        (broken(Copy, choices=lambda *_: [CopySection(), CopySection()]), "two choices have one suffix"),
        (broken(Copy, suffix=lambda *_: "a b"), "the suffix 'a b' has other characters"),
        (broken(Copy, estimate=lambda *_: ExportEstimate(1, 1, refusal="no.")), "it refuses this model: no"),
        (broken(Copy, estimate=lambda *_: ExportEstimate(10**8, 1)), "estimates 100,000,000 bytes and writes"),
        (broken(Copy, export=touching_source), "it changes the model that it exports"),
        (broken(Copy, export=with_pickle), "the export fails: 'extra.pkl'"),
        (broken(Copy, load_line=lambda *_: "load it"), "load_line does not name the path"),
        (broken(Copy, load_line=lambda self, path, _: f"load\n{path}"), "load_line has several lines"),
        (broken(Copy, export=unstoppable), "a stop was requested, and it went on"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)  # fmt: skip
def test_a_broken_exporter_fails_with_its_name_and_what_is_wrong(tmp_path, base, installed, exporter, sentence):
    import shutil

    source = shutil.copytree(base(), tmp_path / "source")
    installed("camelid_exporters", exporter)
    with pytest.raises(AssertionError, match=f"copy: .*{sentence}"):
        assert_exporter_contract(exporter, source, tmp_path / "scratch")
