"""Contract tests for checkpoint converters: exact, whole or refused, and atomic. For plugin authors.

    def test_it(tmp_path):
        source = write_original(tmp_path / "original", config, random_tensors(shapes), files)
        converted = assert_converter_contract(source, tmp_path / "out", load_host(), reference, ids)

Knows checkpoints on disk and how one is damaged. Knows no format: `reference` is the original architecture's formula,
written down independently of Transformers. Not imported by the product.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .artefacts import verify_directory
from .errors import ModelError
from .models.checkpoint_converters import converter_for, refuse_unconverted
from .models.conversion import convert_checkpoint
from .models.loading import load_base, load_tokenizer
from .models.resolved_model import resolve_model
from .models.weight_files import WeightFiles
from .plugins import Host

TOLERANCE = 1e-5
PEFT_PREFIX = "base_model.model."
Reference = Callable[[Mapping[str, Any], Mapping[str, Any], Any], Any]
"""Original tensors by name, configuration and token ids of shape (rows, length) → logits of (rows, length, words)."""


def random_tensors(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, Any]:
    """Numbers of the size of trained weights, norms and biases among them, in float32."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(*shape, generator=generator) * 0.08
        + (1.0 if len(shape) == 1 and name.endswith(".weight") else 0.0)
        for name, shape in shapes.items()
    }


def sharpened(tensors: Mapping[str, Any], norm: str) -> dict[str, Any]:
    """The same with a larger final norm: so that logits differ enough for a few steps of tuning to decide an answer."""
    return {name: tensor * 8 if name.startswith(norm) else tensor for name, tensor in tensors.items()}


def write_original(
    directory: Path, config: Mapping[str, Any], tensors: Mapping[str, Any], files: Mapping[str, Path] | None = None
) -> Path:
    """A checkpoint as its authors publish it, with `auto_map`; `files` are copied by name."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True)
    automatic = {"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}
    (directory / "config.json").write_text(json.dumps({**automatic, **config}), encoding="utf-8")
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, directory / "model.safetensors")
    for name, path in (files or {}).items():
        shutil.copyfile(path, directory / name)
    return directory


def as_torch_shards(source: Path, target: Path, tensors: Mapping[str, Any]) -> Path:
    """The same checkpoint in two files of PyTorch's, with their index."""
    import torch

    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    names = list(tensors)
    parts = {f"pytorch_model-0000{number}-of-00002.bin": names[number - 1 :: 2] for number in (1, 2)}
    for file, held in parts.items():
        torch.save({name: tensors[name] for name in held}, target / file)
    places = {name: file for file, held in parts.items() for name in held}
    (target / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    return target


def random_adapter(
    directory: Path, shapes: Mapping[str, tuple[int, int]], rank: int = 4, alpha: int = 8, **settings: Any
) -> Path:
    """A LoRA adapter as PEFT saves one, on layers of these names; each shape is (outputs, inputs)."""
    from safetensors.torch import save_file

    matrices = {
        f"{PEFT_PREFIX}{name}.lora_{letter}.weight": shape
        for name, (outputs, inputs) in shapes.items()
        for letter, shape in (("A", (rank, inputs)), ("B", (outputs, rank)))
    }
    directory.mkdir(parents=True)
    save_file(random_tensors(matrices, seed=3), directory / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "bias": "none",
        "target_modules": sorted({name.rpartition(".")[2] for name in shapes}),
        "base_model_name_or_path": "org/original",
    }
    (directory / "adapter_config.json").write_text(json.dumps({**config, **settings}), encoding="utf-8")
    return directory


def adapter_changes(directory: Path) -> dict[str, Any]:
    """What an adapter adds to the weight of each layer."""
    from safetensors.torch import load_file

    config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    tensors = load_file(directory / "adapter_model.safetensors")
    names = {name.removeprefix(PEFT_PREFIX).rpartition(".lora_")[0] for name in tensors}
    pairs = {name: [tensors[f"{PEFT_PREFIX}{name}.lora_{letter}.weight"] for letter in "BA"] for name in names}
    return {name: scale * b @ a for name, (b, a) in pairs.items()}


def convert(source: Path, output: Path, host: Host, **options: Any) -> tuple[Path, list[str]]:
    """The converted directory, and what was said meanwhile."""
    said: list[str] = []
    convert_checkpoint(source, output, host, said.append, lambda *_: None, **options)
    return output, said


def logits(directory: Path, host: Host, ids: Any) -> Any:
    """What Camelid's loading of a directory computes."""
    import torch

    model = load_base(resolve_model(str(directory), host), "float32").eval()
    with torch.no_grad():
        return model(input_ids=ids).logits


def assert_converter_contract(source: Path, output: Path, host: Host, reference: Reference, ids: Any) -> Path:
    """Assert all of it for the original in `source` (one safetensors file); returns the converted directory."""
    from safetensors.torch import load_file

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(source / "model.safetensors")
    _assert_refused_with_command(source, config, host)
    converted, _ = convert(source, output, host)
    _assert_standard(converted, host)
    assert_same_logits(logits(converted, host, ids), reference(tensors, config, ids))
    sharded = as_torch_shards(source, output.with_name(f"{output.name}-torch"), tensors)
    _assert_same_weights(converted, convert(sharded, output.with_name(f"{output.name}-from-torch"), host)[0])
    _assert_faults_are_named(source, output.with_name(f"{output.name}-damaged"), tensors, host)
    return converted


def assert_same_logits(found: Any, expected: Any) -> None:
    """Within 1e-5 in float32, of the largest where that is more than one."""
    difference = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    assert difference <= TOLERANCE, f"logits differ by {difference:.2g} from the original architecture's"


def _assert_refused_with_command(source: Path, config: Mapping[str, Any], host: Host) -> None:
    converter = converter_for(config, host.converters)
    assert converter is not None, "no converter recognises the original"
    said = _refusal(lambda: refuse_unconverted(config, source, host.converters))
    assert repr(converter.name) in said, said
    assert f"camelid models convert {source} --out " in said, said


def _assert_standard(converted: Path, host: Host) -> None:
    """A whole artefact that needs no code of its own and is not taken for an original."""
    verify_directory(converted)
    resolved = resolve_model(str(converted), host)
    assert converter_for(resolved.config, host.converters) is None
    assert load_tokenizer(resolved).is_fast


def _assert_same_weights(one: Path, other: Path) -> None:
    left, right = WeightFiles(one), WeightFiles(other)
    assert left.names == right.names
    for name in left.names:
        assert left.tensor(name).equal(right.tensor(name)), f"{name} differs between the formats of the original"


def _assert_faults_are_named(source: Path, scratch: Path, tensors: Mapping[str, Any], host: Host) -> None:
    """Each kind of damage is a sentence with the tensor's name, and leaves nothing."""
    name = sorted(name for name, tensor in tensors.items() if tensor.ndim == 2)[-1]
    damages = {
        name: {key: tensor for key, tensor in tensors.items() if key != name},
        f"{name}.again": {**tensors, f"{name}.again": tensors[name]},
        f"{name}' has the shape": {**tensors, name: tensors[name][:, 1:]},
    }
    for number, (said, damaged) in enumerate(damages.items()):
        original = scratch.with_name(f"{scratch.name}-{number}")
        shutil.copytree(source, original, ignore=shutil.ignore_patterns("*.safetensors"))
        write = write_original(scratch.with_name(f"{scratch.name}-weights-{number}"), {}, damaged)
        shutil.copyfile(write / "model.safetensors", original / "model.safetensors")
        output = scratch.with_name(f"{scratch.name}-out")
        sentence = _refusal(partial(convert, original, output, host))
        assert f"'{said}" in sentence, sentence
        assert not list(output.parent.glob(f"*{output.name}*")), "a failed conversion left something"


def _refusal(action: Callable[[], object]) -> str:
    """The sentence of the ModelError that `action` raises."""
    try:
        action()
    except ModelError as error:
        return str(error)
    raise AssertionError("it is not refused")
