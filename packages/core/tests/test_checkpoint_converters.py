"""Checkpoint converters: recognition, refusal with what to type, weights read as tensors alone and written whole."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ModelError, UsageError
from camelid_core.models import conversion
from camelid_core.models import pull as pulling
from camelid_core.models.checkpoint_converters import CheckpointConverter, Converted, converter_for, refuse_unconverted
from camelid_core.models.conversion import convert_checkpoint
from camelid_core.models.original_weights import OriginalWeights
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.tensor_rules import TensorRule, convert_weights, renamed
from camelid_core.models.weight_files import WeightFiles
from camelid_core.paths import models_dir
from camelid_core.plugins import load_host
from camelid_core.registry import Registry
from camelid_core.testing import tiny_model
from safetensors.torch import save_file

HALVES = CheckpointConverter(
    name="halves",
    help="LLaMA whose embeddings lie in two halves.",
    model_types=("halves",),
    architectures=("HalvesForCausalLM",),
    has=("halves",),
    lacks=("quarters",),
    target="llama",
    function=f"{__name__}:convert_halves",
)
CONFIG = {"model_type": "halves", "architectures": ["HalvesForCausalLM"], "halves": 2, "auto_map": {"AutoModel": "m.M"}}


def convert_halves(source, output, progress):
    """What the test's converter does: a plain LLaMA, one of whose tensors was stored in two."""
    config = json.loads((source / "config.json").read_text())["plain"]
    weights = OriginalWeights(source)
    name = "model.embed_tokens.weight"
    rules = [
        TensorRule(
            {f"{name}.{half}": weights.shape(f"{name}.{half}") for half in (1, 2)},
            (name,),
            lambda *halves: [torch.cat(halves)],
        ),
        *(renamed(other, other, *weights.shape(other)) for other in weights.names if not other.startswith(name)),
    ]
    convert_weights(weights, rules, output, progress)
    (output / "config.json").write_text(json.dumps(config))
    for path in source.glob("token*"):
        (output / path.name).write_bytes(path.read_bytes())
    return Converted("chatml", ("It is told by its halves.",))


@pytest.fixture
def host():
    """The real host, with one converter more."""
    real = load_host()
    converters = Registry("checkpoint converter")
    converters.add(HALVES, "camelid-core")
    return SimpleNamespace(
        adapters=real.adapters, templates=real.templates, plugins=real.plugins, converters=converters
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("models") / "plain")


@pytest.fixture
def original(home, tmp_path, plain):
    """The tiny model in the format of HALVES, its weights in PyTorch's own file."""
    files = WeightFiles(plain)
    tensors = {name: files.tensor(name) for name in files.names}
    halves = tensors.pop("model.embed_tokens.weight").chunk(2)
    tensors |= {f"model.embed_tokens.weight.{number}": half for number, half in enumerate(halves, 1)}
    path = tmp_path / "original"
    path.mkdir()
    torch.save(tensors, path / "pytorch_model.bin")
    config = {**CONFIG, "plain": json.loads((plain / "config.json").read_text())}
    (path / "config.json").write_text(json.dumps(config))
    for file in plain.glob("token*"):
        (path / file.name).write_bytes(file.read_bytes())
    (path / "generation_config.json").write_text(
        json.dumps({"temperature": 0.5, "do_sample": True, "user_token_id": 3})
    )
    (path / "LICENSE").write_text("Terms")
    (path / "README.md").write_text("---\nlicense: mit\n---\ntrust_remote_code=True\n")
    return path


def convert(source, output, host, **options):
    said = []
    convert_checkpoint(source, output, host, said.append, lambda *_: None, **options)
    return said


@pytest.mark.parametrize(
    ("change", "recognised"),
    [
        ({}, True),
        ({"model_type": "llama"}, False),
        ({"architectures": ["Other"]}, False),
        ({"architectures": None}, False),
        ({"quarters": 4}, False),
    ],
)
def test_a_format_is_recognised_by_type_architecture_and_keys(change, recognised):
    assert HALVES.recognises({**CONFIG, **change}) is recognised
    assert not HALVES.recognises({key: value for key, value in CONFIG.items() if key != "halves"})


def test_what_needs_converting_is_refused_with_the_command(original, host):
    with pytest.raises(ModelError) as error:
        resolve_model(str(original), host)
    assert "Converter 'halves' makes a standard llama model of it" in str(error.value)
    assert f"`camelid models convert {original} --out original-converted`" in str(error.value)


def test_code_that_no_converter_replaces_is_refused_by_its_model_type(tmp_path, host):
    with pytest.raises(ModelError, match=r"'auto_map' .* No installed converter knows its model type 'strange'"):
        refuse_unconverted({"model_type": "strange", "auto_map": {}}, tmp_path, host.converters)


def test_two_converters_of_one_format_are_named():
    with pytest.raises(ModelError, match="by the converters 'halves', 'halves'"):
        converter_for(CONFIG, [HALVES, HALVES])


def test_the_result_is_whole_plain_and_described(original, plain, host, tmp_path):
    said = convert(original, tmp_path / "out", host, base_id="org/halves")
    assert "It is told by its halves." in said
    made, files = WeightFiles(tmp_path / "out"), WeightFiles(plain)
    assert all(made.tensor(name).equal(files.tensor(name)) for name in files.names)
    manifest = verify_directory(tmp_path / "out").manifest
    assert (manifest.kind, manifest.base.id, manifest.base.model_type) == ("model", "org/halves", "halves")
    assert manifest.parameters == {"conversion": {"converter": "halves"}}
    assert (manifest.licences.base, manifest.template.name) == ("mit", "chatml")
    assert (tmp_path / "out" / "LICENSE").read_text() == "Terms"
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text()) == {
        "temperature": 0.5,
        "do_sample": True,
    }
    resolved = resolve_model(str(tmp_path / "out"), host)
    assert (resolved.base_id, resolved.template, resolved.licence) == ("org/halves", "chatml", "mit")


def test_a_directory_that_is_there_stays(original, host, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        convert(original, tmp_path / "out", host)


def test_a_converter_that_makes_another_architectures_tensors_is_found_out(original, host, tmp_path):
    config = json.loads((original / "config.json").read_text())
    config["plain"]["num_hidden_layers"] += 1
    (original / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"made 'model\.layers\.\d+.*' of shape None, where the new architecture has"):
        convert(original, tmp_path / "out", host)
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == []


def test_a_directory_without_its_format_is_a_sentence(plain, host, tmp_path):
    with pytest.raises(ModelError, match=r"model type 'llama', which no installed converter recognises \(halves\)"):
        convert(plain, tmp_path / "out", host)
    with pytest.raises(ModelError, match=r"has no config\.json"):
        convert(tmp_path, tmp_path / "out", host)


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/never", "w"))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(pickle.dumps({"a": Evil()})),
        lambda path: torch.save({"a": Evil()}, path),
        lambda path: path.write_bytes(b"\0" * 100),
        lambda path: torch.save([torch.zeros(2)], path),
        lambda path: torch.save({"a": 3}, path),
    ],
)
def test_what_is_more_than_tensors_is_never_run(tmp_path, write):
    write(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"cannot be read as tensors alone|not tensors by name|no plain tensor"):
        OriginalWeights(tmp_path)


def test_the_format_before_pytorch_1_6_is_read(tmp_path):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert OriginalWeights(tmp_path).tensor("a").tolist() == [0.0, 1.0, 2.0]


def test_files_that_the_index_names_must_be_there(tmp_path):
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}))
    with pytest.raises(ModelError, match=r"lacks pytorch_model-1\.bin, which its index names"):
        OriginalWeights(tmp_path)
    (tmp_path / "pytorch_model.bin.index.json").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        OriginalWeights(tmp_path)


def test_weights_are_written_in_shards_with_an_index(tmp_path):
    save_file({f"t{number}": torch.full((4, 4), float(number)) for number in range(5)}, tmp_path / "model.safetensors")
    weights, output, seen = OriginalWeights(tmp_path), tmp_path / "out", []
    output.mkdir()
    rules = [renamed(f"t{number}", f"u{number}", 4, 4) for number in range(5)]
    convert_weights(weights, rules, output, lambda *each: seen.append(each), limit=150)
    assert len(list(output.glob("model-*-of-00003.safetensors"))) == 3
    made = WeightFiles(output)
    assert [float(made.tensor(f"u{number}").mean()) for number in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert (seen[0], seen[-1]) == ((0, 5, "u0"), (5, 5, ""))


def test_a_pulled_original_is_converted(original, host, monkeypatch):
    """The repository's configuration says that it needs converting; its weights are fetched then, and not kept."""
    asked = []

    def fetch(hub_id, revision, target, report, patterns=("*.json",)):
        asked.append(list(patterns))
        target.mkdir(exist_ok=True)
        for pattern in patterns:
            for path in original.glob(pattern):
                (target / path.name).write_bytes(path.read_bytes())
        return ""

    monkeypatch.setattr(pulling, "_from_hub", fetch)
    path = pulling.pull("org/halves", host, lambda text: None)
    assert path == models_dir() / "org--halves"
    assert "pytorch_model*.bin" in asked[1]
    assert not [*path.glob("*.bin"), *models_dir().glob(".*partial")]
    assert resolve_model("org/halves", host).base_id == "org/halves"


def test_the_listing_names_the_converters(camelid, host, home, monkeypatch):
    monkeypatch.setattr("camelid_core.commands.models.load_host", lambda: host)
    rows = camelid("models", "list", "--json").json["converters"]
    assert rows == [{"converter": "halves", "help": HALVES.help, "target": "llama"}]
    assert "Converted, as they bring code of their own: halves." in camelid("models", "list").out


def test_the_command_converts_and_says_what_it_made(camelid, original, host, monkeypatch, tmp_path):
    monkeypatch.setattr("camelid_core.commands.models.load_host", lambda: host)
    done = camelid("models", "convert", str(original), "--out", str(tmp_path / "out"), "--json")
    assert done.json == {"directory": str(tmp_path / "out"), "converter": "halves", "model_type": "llama"}
    again = camelid("models", "convert", str(original), "--out", str(tmp_path / "out"))
    assert again.code == 2
    assert "is there already" in again.err
    assert conversion.required_converter(CONFIG, original, host) is HALVES
