"""LoRA adapters between an original checkpoint's tensor names and those of its converted model, both ways, exactly.

What a converter does to a weight W = W + s·B·A, it does to the rows of B alone. So a fused projection's adapter gives
each part its own rows of B and the same A. On the way back the parts' matrices A are stacked, and each part's B gets a
block of its own columns: a rank as large as all of them together, unless the parts share one A.

Knows PEFT's files and tensor rules. Knows nothing of formats. Imports torch inside.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.artefacts import is_artefact, read_artefact
from camelid_core.errors import ModelError, UsageError
from camelid_core.integrity import safetensors_header
from camelid_core.plugins import Host

from .original_weights import torch_tensors
from .resolved_model import read_object
from .tensor_rules import TensorRule

CONFIG, WEIGHTS, OLD_WEIGHTS = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
_REFUSED = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias", "fan_in_fan_out")
Pair = tuple[Any, Any]
"""A (rank, inputs) and B (outputs, rank) of one layer."""


def convert_adapter(adapter: Path, model: Path, output: Path, host: Host) -> str:
    """Make the new directory `output` of a LoRA adapter in `adapter`, whose names are those of the converted `model`'s
    original, or the other way round. Returns `to the converted model` or `to the original`.

    Raises:
        UsageError: `output` is there already.
        ModelError: `model` was not made by a converter that translates adapters, or the adapter is of another kind, or
            for another model; a tensor is named.
    """
    if output.exists():
        raise UsageError(f"{str(output)!r} is there already; give --out a new name, or remove it.")
    config = read_object(adapter / CONFIG)
    _check_kind(config)
    rules, original = _rules_of(model, host)
    pairs = _pairs(adapter)
    forward = all(f"{name}.weight" in _sources(rules) for name in pairs)
    names = _sources(rules) if forward else {target for rule in rules for target in rule.targets}
    if stray := [name for name in sorted(pairs) if f"{name}.weight" not in names]:
        raise ModelError(
            f"adapter {str(adapter)!r} is on {stray[0]!r}, which neither {str(model)!r} nor its original has with the "
            "others. Name the converted model that it belongs to."
        )
    made, rank = _forward(pairs, rules) if forward else _back(pairs, rules)
    scale = rank / _rank(pairs)
    alpha = float(config.get("lora_alpha", 8)) * (scale**0.5 if config.get("use_rslora") else scale)
    config |= {
        "r": rank,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "target_modules": sorted({name.rpartition(".")[2] for name in made}),
        "base_model_name_or_path": str(model.resolve()) if forward else original,
    }
    _write(output, config, made)
    return "to the converted model" if forward else "to the original"


def _check_kind(config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise ModelError(f"an adapter of the kind {config.get('peft_type')!r} is not translated; LoRA is.")
    if more := [name for name in _REFUSED if config.get(name)]:
        raise ModelError(f"an adapter with {more[0]} is not translated; plain LoRA is.")
    if config.get("bias", "none") != "none":
        raise ModelError(f"an adapter with biases of its base (bias={config['bias']!r}) is not translated.")


def _rules_of(model: Path, host: Host) -> tuple[list[TensorRule], str]:
    """The rules that a converted model was made by, and what its original is called."""
    manifest = read_artefact(model).manifest if is_artefact(model) else None
    made = manifest.parameters.get("conversion") if manifest else None
    if manifest is None or not isinstance(made, dict):
        raise ModelError(f"{str(model)!r} was not made by `camelid models convert`; name a model that was.")
    converter = host.converters[str(made.get("converter"))]
    if not converter.adapter_rules:
        raise ModelError(f"converter {converter.name!r} does not translate adapters.")
    rules = list(pkgutil.resolve_name(converter.adapter_rules)(read_object(model / "config.json")))
    return rules, (manifest.base.path or manifest.base.id) if manifest.base else ""


def _sources(rules: Iterable[TensorRule]) -> set[str]:
    return {name for rule in rules for name in rule.sources}


def _pairs(adapter: Path) -> dict[str, Pair]:
    """Path of each adapted layer → its matrices, in float32."""
    from safetensors.torch import load_file

    if (adapter / WEIGHTS).is_file():
        safetensors_header(adapter / WEIGHTS)
        tensors = load_file(adapter / WEIGHTS)
    else:
        tensors = torch_tensors(adapter / OLD_WEIGHTS)
    found: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        end = next((end for end in (_A, _B) if name.endswith(end)), "")
        if not end or not name.startswith(_PREFIX):
            raise ModelError(f"adapter {str(adapter)!r} holds {name!r}, which is no matrix of plain LoRA.")
        found.setdefault(name.removeprefix(_PREFIX).removesuffix(end), {})[end] = tensor.float()
    if halved := next((name for name, pair in found.items() if len(pair) != 2), ""):
        raise ModelError(f"adapter {str(adapter)!r} holds one matrix of two for {halved!r}. Copy it again, whole.")
    if not found:
        raise ModelError(f"adapter {str(adapter)!r} holds no matrices.")
    return {name: (pair[_A], pair[_B]) for name, pair in found.items()}


def _rank(pairs: Mapping[str, Pair]) -> int:
    return max(int(a.shape[0]) for a, _ in pairs.values())


def _forward(pairs: Mapping[str, Pair], rules: Sequence[TensorRule]) -> tuple[dict[str, Pair], int]:
    made: dict[str, Pair] = {}
    for rule in rules:
        (source,) = rule.sources
        pair = pairs.get(source.removesuffix(".weight"))
        if pair is None:
            continue
        _check_shape(source, pair, rule.sources[source])
        for target, rows in zip(rule.targets, rule([pair[1]]), strict=True):
            made[target.removesuffix(".weight")] = (pair[0].clone(), rows.contiguous())
    return made, _rank(pairs)


def _back(pairs: Mapping[str, Pair], rules: Sequence[TensorRule]) -> tuple[dict[str, Pair], int]:
    import torch

    made: dict[str, Pair] = {}
    for rule in rules:
        (source,) = rule.sources
        parts = [pairs.get(target.removesuffix(".weight")) for target in rule.targets]
        present = [part for part in parts if part is not None]
        if not present:
            continue
        shared = all(part[0].equal(present[0][0]) for part in present)
        stacked = present[0][0] if shared else torch.cat([a for a, _ in present])
        blocks = _blocks(parts, _heights(rule), shared)
        made[source.removesuffix(".weight")] = (stacked, _joined(rule, blocks).contiguous())
    rank = _rank(made)
    return {name: _padded(pair, rank) for name, pair in made.items()}, rank


def _heights(rule: TensorRule) -> list[int]:
    """How many rows each target has."""
    import torch

    (shape,) = rule.sources.values()
    return [int(part.shape[0]) for part in rule([torch.empty(shape, device="meta")])]


def _blocks(parts: Sequence[Pair | None], heights: Sequence[int], shared: bool) -> list[Any]:
    """Of each target the rows of B: in columns of its own, or in common ones where all parts share one A."""
    import torch

    ranks = [0 if part is None else int(part[0].shape[0]) for part in parts]
    width, before, blocks = max(ranks) if shared else sum(ranks), 0, []
    for part, height, rank in zip(parts, heights, ranks, strict=True):
        block = torch.zeros(height, width)
        if part is not None:
            _check_shape("an adapted layer", part, (height, int(part[0].shape[1])))
            block[:, (0 if shared else before) : (0 if shared else before) + rank] = part[1]
        before += rank
        blocks.append(block)
    return blocks


def _joined(rule: TensorRule, blocks: Sequence[Any]) -> Any:
    """The source's rows out of the targets': where each row of the source goes is found by sending its number along."""
    import torch

    rows = torch.cat(list(blocks))
    (shape,) = rule.sources.values()
    numbers = torch.cat([part[:, 0] for part in rule([torch.arange(float(shape[0]))[:, None]])]).long()
    joined = torch.empty_like(rows)
    joined[numbers] = rows
    return joined


def _padded(pair: Pair, rank: int) -> Pair:
    """The same with zeros up to a common rank."""
    from torch.nn.functional import pad

    missing = rank - int(pair[0].shape[0])
    return pad(pair[0], (0, 0, 0, missing)).contiguous(), pad(pair[1], (0, missing)).contiguous()


def _check_shape(name: str, pair: Pair, shape: Sequence[int]) -> None:
    a, b = pair
    if (int(b.shape[0]), int(a.shape[1])) != tuple(shape) or a.shape[0] != b.shape[1]:
        raise ModelError(
            f"the adapter's matrices for {name!r} are {list(a.shape)} and {list(b.shape)}, for a weight of "
            f"{list(shape)}: it belongs to another model."
        )


def _write(output: Path, config: Mapping[str, Any], pairs: Mapping[str, Pair]) -> None:
    from safetensors.torch import save_file

    output.parent.mkdir(parents=True, exist_ok=True)
    with staging.directory(output) as staged:
        tensors = {f"{_PREFIX}{name}{end}": pair[at] for name, pair in pairs.items() for at, end in enumerate((_A, _B))}
        save_file(tensors, staged / WEIGHTS, metadata={"format": "pt"})
        (staged / CONFIG).write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
        staged.replace(output)
