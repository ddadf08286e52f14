"""Every method on every family: it learns, plain libraries load what it wrote, merging keeps what it says, and an
interrupted run ends with the same bits."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ModelError
from camelid_core.integrity import sha256
from camelid_core.tasks import Interrupted
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.methods.qlora import keep_trainable
from camelid_train.methods.registry import methods
from camelid_train.run import train
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [9, 10, 11, 12, 13, 14]])
FAMILIES = ("llama", "bloom", "gpt_neox", "qwen2", "gemma")


@dataclass(frozen=True)
class Case:
    """A method with overrides and a learning rate that suit a model of 2 layers."""

    name: str
    rate: float
    overrides: tuple[str, ...] = ()
    plain: BitsAndBytesConfig | None = None

    def __str__(self) -> str:
        return "-".join([self.name, *(override.partition(".")[2] for override in self.overrides)])


NF4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.float32,
)
CASES = (
    Case("lora", 0.05),
    Case("full", 0.005),
    Case("qlora", 0.05, plain=NF4),
    Case("qlora", 0.05, ("method.quantization=int8",), BitsAndBytesConfig(load_in_8bit=True)),
    Case("adalora", 0.6, ("method.every=2",)),
    Case("ia3", 0.5),
    Case("prefix", 0.2),
    Case("p-tuning", 0.05),
    Case("prompt", 0.3),
)
VARIANTS = (
    Case("lora", 0.05, ("method.dora=true", "method.rslora=true")),
    Case("lora", 0.02, ("method.initial=pissa",)),
    Case("lora", 0.05, ("method.initial=eva", "method.dropout=0.2")),
    Case("lora", 0.05, ('method.targets=["all-linear"]',)),
    Case("prefix", 0.05, ("method.projection=true",)),
    Case("p-tuning", 0.05, ("method.network=lstm",)),
    Case("prompt", 0.3, ("method.text=Add the numbers",)),
)


def test_every_method_that_can_run_here_is_in_the_matrix():
    assert {case.name for case in CASES} == set(methods().names()) - {"lora-gptq"}


@pytest.fixture
def trained_outputs(monkeypatch):
    """The logits of the trained model at the moment it was saved."""
    kept = {}
    for kind in {type(method) for method in methods()}:
        save = kind.save

        def listen(self, model, *rest, save=save):
            kept.setdefault("logits", logits(model))
            save(self, model, *rest)

        monkeypatch.setattr(kind, "save", listen)
    return kept


def logits(model) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits[:, -IDS.shape[1] :].clone()


def loaded(case: Case, base, output) -> torch.Tensor:
    """With nothing but transformers and peft."""
    if not (output / "adapter_config.json").exists():
        return logits(AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32))
    options = {"quantization_config": case.plain} if case.plain else {}
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, **options)
    keep_trainable(model)  # where a CPU has bfloat16, bitsandbytes' own kernels take no layers as small as these
    return logits(PeftModel.from_pretrained(model, output))


def pair(case: Case, family: str):
    """The inner loop has every method once, and the most used one with every family; `make test-all` has every pair."""
    often = family == "llama" or (case.name, case.overrides) == ("lora", ())
    return pytest.param(case, family, id=f"{case}-{family}", marks=() if often else pytest.mark.exhaustive)


PAIRS = [pair(case, family) for case in CASES for family in FAMILIES]
PAIRS += [pytest.param(case, "llama", id=f"{case}-llama", marks=pytest.mark.slow) for case in VARIANTS]


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning")  # AdaLoRA's differ
@pytest.mark.parametrize(("case", "family"), PAIRS)
def test_it_learns_and_plain_libraries_load_it(attempt, recipe, base, trained_outputs, case, family):
    run = attempt()
    config = recipe(
        f"method.type={case.name}",
        *case.overrides,
        "train.max_steps=8",
        f"train.learning_rate={case.rate}",
        family=family,
    )
    metrics = train(config, run)
    assert metrics["eval_loss"] < metrics["base_eval_loss"] - 0.001
    manifest = verify_directory(run.output).manifest
    assert manifest.kind == methods()[case.name].kind
    assert manifest.parameters["method"]["type"] == case.name
    assert torch.allclose(loaded(case, base(family), run.output), trained_outputs["logits"], atol=2e-4)
    mergeable(attempt, case, run.output, trained_outputs["logits"])


def mergeable(attempt, case, output, wanted) -> None:
    run = attempt(job=2)
    if not methods()[case.name].mergeable:
        with pytest.raises(ModelError, match=r"nothing to merge|cannot be merged"):
            merge(MergeConfig(adapter=str(output)), run)
        return
    merge(MergeConfig(adapter=str(output), weights="as-trained"), run)
    merged = logits(AutoModelForCausalLM.from_pretrained(run.output, dtype=torch.float32))
    assert torch.allclose(merged, wanted, atol=_rounding(case))
    assert "quantization_config" not in json.loads((run.output / "config.json").read_text())


def _rounding(case: Case) -> float:
    """int8 multiplies rounded inputs, and only while it is int8."""
    return 5e-2 if "int8" in str(case) else 1e-3


RESUMED = [
    pytest.param(case, id=str(case), marks=() if case.name in ("lora", "full") else pytest.mark.slow)
    for case in (*CASES, *VARIANTS)
]


@pytest.mark.parametrize("case", RESUMED)
def test_an_interrupted_run_ends_with_the_same_bits(attempt, recipe, case):
    """Dropout, ranks and networks that are not saved with the result go on as they would have."""
    config = recipe(
        f"method.type={case.name}", *case.overrides, "train.max_steps=8", f"train.learning_rate={case.rate}"
    ).with_overrides(["data.eval_rows=0"])
    whole = attempt(1, job=1)
    train(config, whole)
    first = attempt(1, job=2)
    first.stop_at = (5, "save")
    with pytest.raises(Interrupted):
        train(config, first)
    last = attempt(2, job=2)
    train(config, last)
    assert last.events("log")[0]["text"] == "Resuming from step-00000005."
    assert digests(last.output) == digests(whole.output)
    assert last.losses[-1] == whole.losses[-1]


def digests(directory) -> dict[str, str]:
    found = {path.name: sha256(path) for path in directory.glob("*.safetensors")}
    assert found
    return found
