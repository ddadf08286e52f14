"""GPTQ for real: every kind of recipe loads where it must and computes what its weights say; branches are resumed;
stops and failures. Needs an environment with GPTQModel: `tests/test_gptq.py` makes one and runs this file there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.config import validate
from camelid_core.errors import ModelError
from camelid_core.integrity import safetensors_header
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.subprocesses import module_command
from camelid_core.tasks import Interrupted
from camelid_gptq.exporter import GPTQ
from camelid_gptq.packed_size import packed_size, quantised_matrices
from camelid_gptq.recipes import read_recipes
from camelid_gptq.section import GptqSection
from camelid_train.export import task
from camelid_train.export.config import ExportConfig
from camelid_train.testing import attempts
from safetensors.torch import load_file

pytestmark = pytest.mark.filterwarnings("default")
"""Warnings of GPTQModel and torchao are theirs."""


@pytest.fixture
def config_of(base, talk):
    def make(**settings) -> ExportConfig:
        to = {"type": "gptq", "calibration": str(talk), "rows": 16, "seqlen": 64, **settings}
        return validate(ExportConfig, {"source": str(base()), "to": to}, "the test")

    return make


def dequantised(tensors: dict[str, torch.Tensor], name: str, bits: int) -> np.ndarray:
    """The matrix that packed tensors mean, by AutoGPTQ's format: little-endian fields of `bits` bits in 32-bit words,
    zeros stored minus one."""
    columns = tensors[f"{name}.g_idx"].numel()
    words = tensors[f"{name}.qweight"].numpy().view(np.uint8).reshape(-1, tensors[f"{name}.qweight"].shape[1], 4)
    bit_rows = np.unpackbits(words, axis=2, bitorder="little").transpose(0, 2, 1).reshape(columns, bits, -1)
    powers = 1 << np.arange(bits)
    weights = np.einsum("cbr,b->cr", bit_rows, powers)
    zeros = np.ascontiguousarray(tensors[f"{name}.qzeros"].numpy()).view(np.uint8)
    zero_bits = np.unpackbits(zeros, axis=1, bitorder="little").reshape(len(zeros), -1, bits)
    group = tensors[f"{name}.g_idx"].numpy()
    return ((weights - (zero_bits @ powers + 1)[group]) * tensors[f"{name}.scales"].float().numpy()[group]).T


ALLOWED = {2: 0.9, 3: 0.45, 4: 0.2, 8: 0.02}
"""How far the quantised weights may be from the source's, as a share of these, by bits."""
RECIPES = ["4b32F", "4b64T", "main", "3b32F", "3b-1T", "8b-1F", "2b16T"]


@pytest.fixture(scope="module")
def quantised(base, talk, tmp_path_factory):
    """The result of an export by `RECIPES`, and the events of its attempt."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMELID_HOME", str(home))
        for make in attempts(home):
            run = make()
            to = {"type": "gptq", "calibration": str(talk), "rows": 16, "seqlen": 64, "recipes": RECIPES}
            task.export(validate(ExportConfig, {"source": str(base()), "to": to}, "the test"), run)
            yield run


@pytest.mark.parametrize("text", RECIPES)
def test_a_quantised_model_loads_in_transformers_and_computes_what_its_weights_say(quantised, base, text):
    (recipe,) = read_recipes([text])
    directory = quantised.output / recipe.branch
    export = check_artefact(directory, recipe)
    assert (export["sym"], export["true_sequential"], export["zero_bias"]) == (True, True, False)
    size = len((directory / "quantize_config.json").read_bytes())
    assert size == 186 + len(str(recipe.group_size)) - 2 + (not recipe.desc_act)
    check_weights(directory, recipe, base())


def test_asymmetric_quantisation_and_zero_biases(attempt, base, config_of):
    run = attempt()
    (recipe,) = read_recipes(["4b32T"])
    settings = {"sym": False, "true_sequential": False, "zero_bias": True, "damp": 0.05}
    task.export(config_of(group_size=32, desc_act=True, **settings), run)
    export = check_artefact(run.output, recipe)
    assert {name: export[name] for name in settings} == settings
    assert json.loads((run.output / "quantize_config.json").read_text())["sym"] is False
    check_weights(run.output, recipe, base(), zero_bias=True)
    assert list(Path.cwd().iterdir()) == []  # GPTQModel's logs are elsewhere


def check_artefact(directory, recipe):
    """The directory is an artefact of that recipe; what its manifest keeps of the export."""
    manifest = verify_directory(directory).manifest
    export = manifest.parameters["export"]
    assert manifest.kind == "gptq"
    assert export["tool"].startswith("GPTQModel 7.6.")
    assert export["seconds"] > 0
    assert [export[name] for name in ("bits", "group_size", "desc_act")] == [
        recipe.bits, recipe.group_size, recipe.desc_act,
    ]  # fmt: skip
    assert (export["calibration"]["rows"], export["calibration"]["seqlen"]) == (16, 64)
    return export


def check_weights(directory, recipe, base, zero_bias=False):
    """Size and metadata are as estimated, the weights near the source's, and Transformers computes with these."""
    source, tensors = load_file(base / "model.safetensors"), load_file(directory / "model.safetensors")
    shapes = {name: tuple(tensor.shape) for name, tensor in source.items()}
    header = safetensors_header(directory / "model.safetensors")
    assert header.pop("__metadata__")["gptq_bits"] == str(recipe.bits)
    assert max(each["data_offsets"][1] for each in header.values()) == packed_size(shapes, recipe, zero_bias)
    plain = load_base(resolve_model(str(base), load_host()), "float32")
    for name in quantised_matrices(shapes):
        weight = dequantised(tensors, name.removesuffix(".weight"), recipe.bits)
        off = np.abs(weight - source[name].numpy()).mean() / source[name].abs().mean().item()
        assert off < ALLOWED[recipe.bits], name
        plain.get_submodule(name.removesuffix(".weight")).weight.data = torch.from_numpy(weight).float()
    ids = torch.arange(3, 40)[None]
    loaded = load_base(resolve_model(str(directory), load_host()), "float32")
    with torch.inference_mode():
        logits, expected = loaded(ids).logits.float(), plain(ids).logits
    assert (logits - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_a_quantised_model_loads_in_gptqmodel_and_answers_through_camelid(quantised, talk):
    directory = quantised.output / "gptq-4bit-32g-actorder_False"
    from gptqmodel import GPTQModel

    model = GPTQModel.load(str(directory), device="cpu")
    ids = torch.arange(3, 20)[None]
    answer = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > 17
    for command in (["predict", directory, talk, "--limit", "3"], ["chat", directory, "--ask", "Add 2 and 2."]):
        camelid(*command, "--max-new-tokens", "4")


@pytest.mark.parametrize("text", ["main", "4b32F"])
def test_the_line_that_is_printed_loads_it(quantised, host, text):
    """Also where the last group of a matrix is smaller than the others, as in `main` here."""
    from transformers import AutoModelForCausalLM, GPTQConfig

    (recipe,) = read_recipes([text])
    directory = str(quantised.output / recipe.branch)
    section = GptqSection(bits=recipe.bits, group_size=recipe.group_size, desc_act=recipe.desc_act)
    line = GPTQ.load_line(directory, section)
    assert ("backend=" in line) == (text == "main")
    model = eval(line, {"AutoModelForCausalLM": AutoModelForCausalLM, "GPTQConfig": GPTQConfig})
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        logits, expected = (each(ids).logits.float() for each in (model, load_base(resolve_model(directory, host))))
    assert (logits - expected).abs().mean() < 0.02 * expected.abs().mean()


def camelid(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The `camelid` program, in a process of its own."""
    command = module_command("camelid_core.cli", *map(str, arguments))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def test_several_recipes_give_as_many_branches_each_by_itself(quantised, host):
    branches = [recipe.branch for recipe in read_recipes(RECIPES)]
    assert sorted(path.name for path in quantised.output.iterdir() if path.is_dir()) == sorted(branches)
    whole = verify_directory(quantised.output).manifest
    assert whole.parameters["export"]["branches"] == branches
    with pytest.raises(ModelError, match=r"holds several models: .*, main\. Name one: .*/main"):
        resolve_model(str(quantised.output), host)
    sources = set()
    for branch in branches:
        export = verify_directory(quantised.output / branch).manifest.parameters["export"]
        written = json.loads((quantised.output / branch / "quantize_config.json").read_text())
        for name in ("bits", "group_size", "desc_act"):
            assert written[name] == export[name]
        sources.add((export["source"], export["calibration"]["hash"]))
        assert resolve_model(str(quantised.output / branch), host).config["quantization_config"]["bits"]
        assert (quantised.output / branch / "tokenizer.json").is_file()
    assert len(sources) == 1
    assert not (quantised.directory / "scratch").exists()
    steps = quantised.events("progress")
    assert steps[-1]["done"] == steps[-1]["total"] == len(RECIPES) * 2


def test_a_stop_keeps_finished_branches_and_the_next_attempt_goes_on(attempt, config_of):
    config, run = config_of(recipes="main,4b32T"), attempt()
    run.stop_at = (3, "save")  # in the second branch: each has two layers
    with pytest.raises(Interrupted):
        task.export(config, run)
    assert not run.output.exists()
    assert no_gptqmodel_is_left()
    kept = run.directory / "branches" / "main"
    first = kept.joinpath("camelid.json").read_bytes()
    again = attempt(epoch=2)
    task.export(config, again)
    assert [event["text"] for event in again.events("log") if "it is kept" in event["text"]] == [
        "main is there already, made in the same way: it is kept."
    ]
    assert (again.output / "main" / "camelid.json").read_bytes() == first
    verify_directory(again.output / "gptq-4bit-32g-actorder_True")

    later = attempt(job=2)  # another job, told where the branches are
    begun = time.monotonic()
    task.export(config_of(recipes="main,4b32T", reuse=str(again.output)), later)
    assert time.monotonic() - begun < 5
    assert (later.output / "main" / "camelid.json").read_bytes() == first

    damaged = again.output / "main" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"\1" * 8)
    other = attempt(job=3)
    task.export(config_of(recipes="main", reuse=str(again.output)), other)
    assert not [event for event in other.events("log") if "it is kept" in event["text"]]
    verify_directory(other.output / "main")


def no_gptqmodel_is_left() -> bool:
    commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    return not [command for command in commands if "gptqmodel_process" in command]


def test_what_gptqmodel_cannot_do_is_a_sentence_and_leaves_nothing(attempt, base, config_of, tmp_path):
    model = shutil.copytree(base(), tmp_path / "odd")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    run = attempt()
    with pytest.raises(ModelError, match="GPTQModel failed: "):
        task.export(config_of(recipes="main,4b32T").model_copy(update={"source": str(model)}), run)
    assert not run.output.exists()
    assert no_gptqmodel_is_left()


def test_a_folder_of_auto_gptq_loads(quantised, home, host, tmp_path):
    made = quantised.output / "gptq-4bit-32g-actorder_False"
    old = shutil.copytree(made, tmp_path / "old")
    (old / "camelid.json").unlink()
    (old / "model.safetensors").rename(old / "gptq_model-4bit-32g.safetensors")
    settings = json.loads((old / "quantize_config.json").read_text())
    settings |= {"model_file_base_name": "gptq_model-4bit-32g", "is_marlin_format": False, "static_groups": False}
    (old / "quantize_config.json").write_text(json.dumps(settings))
    config = json.loads((old / "config.json").read_text())
    del config["quantization_config"]
    (old / "config.json").write_text(json.dumps(config))
    ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        first, second = (load_base(resolve_model(str(path), host))(ids).logits for path in (old, made))
    assert torch.equal(first, second)


def test_quantize_is_the_everyday_name(attempt, base, talk, tmp_path):
    data = ["--calibration", talk, "--rows", "8", "--seqlen", "64"]
    plan = json.loads(camelid("quantize", base(), *data, "--bits", "8", "--plan", "--json").stdout)
    out = tmp_path / "out"
    done = camelid("quantize", base(), *data, "--bits", "8", "--group-size", "32", "--out", out, "--json", "damp=0.05")
    assert json.loads(done.stdout.splitlines()[-1])["artefact"] == str(out)
    assert plan["size"] > 0
    export = verify_directory(out).manifest.parameters["export"]
    assert (export["bits"], export["group_size"], export["damp"]) == (8, 32, 0.05)
