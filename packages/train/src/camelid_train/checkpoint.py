"""Save and resume training state: what learns, optimizer, schedule, random states, position.

Knows files: safetensors and JSON, no pickles, the manifest last, published by one rename. A torn
checkpoint is never picked up again. Parameters are kept raw, as they are trained: what a method writes
as its result may be rounded, pruned or folded, and a resumed run must go on to the bit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from camelid_core.errors import ArtefactError
from camelid_core.integrity import fsync_directory, sha256, write_durably
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import load_file, save_file

from .tally import Tally

_MANIFEST = "checkpoint.json"
_WEIGHTS = "weights"
_SHARD = "4GB"
_EXTRA = "method.safetensors"
_PREFIX = "step-"


def save(
    directory: Path,
    step: int,
    model: Any,
    optimizer: Any,
    scheduler: Any,
    state: Any,
    tally: Tally,
    keep: int = 2,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write `directory/step-N`, complete or not at all, and delete all but the newest `keep`.

    `extra` are tensors that the tuning method needs beside the parameters that learn.
    """
    target = directory / f"{_PREFIX}{step:08d}"
    staged = directory / f".{target.name}.tmp"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    _save_weights(staged, model)
    _save_tensors(staged / _EXTRA, extra or {})
    _save_optimizer(staged, optimizer)
    (staged / "scheduler.json").write_text(json.dumps(scheduler.state_dict(), default=_plain), encoding="utf-8")
    _save_random(staged)
    (staged / "tally.json").write_text(json.dumps(asdict(tally)), encoding="utf-8")
    state.save_to_json(str(staged / "trainer_state.json"))
    files = {path.name: sha256(path) for path in sorted(staged.iterdir()) if path.is_file()}
    for name in files:
        _fsync(staged / name)
    write_durably(staged / _MANIFEST, json.dumps({"step": step, "files": files}).encode())
    shutil.rmtree(target, ignore_errors=True)
    staged.replace(target)
    fsync_directory(directory)
    for old in sorted(directory.glob(f"{_PREFIX}*"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def newest_valid(directories: Iterable[Path]) -> Path | None:
    """The checkpoint with the most steps whose files are all as they were written."""
    found = [path for directory in directories for path in directory.glob(f"{_PREFIX}*")]
    return next((path for path in sorted(found, key=lambda path: path.name, reverse=True) if is_valid(path)), None)


def is_valid(checkpoint: Path) -> bool:
    try:
        files = json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))["files"]
        return bool(files) and all(sha256(checkpoint / name) == digest for name, digest in files.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # whatever a torn manifest still parses as
        return False


def load_tally(checkpoint: Path) -> Tally:
    return Tally(**json.loads((checkpoint / "tally.json").read_text(encoding="utf-8")))


def load_weights(checkpoint: Path, model: Any) -> None:
    """Put the saved parameters into `model`.

    Raises:
        ArtefactError: they are not the ones that learn in `model`.
    """
    there = _learning(model)
    for path in sorted(checkpoint.glob(f"{_WEIGHTS}*.safetensors")):
        for name, tensor in load_file(path).items():
            parameter = there.pop(name, None)
            if parameter is None or parameter.shape != tensor.shape:
                raise ArtefactError(f"{str(checkpoint)!r} is from another method or model: it holds {name!r}.")
            with torch.no_grad():
                parameter.copy_(tensor)
    if there:
        raise ArtefactError(f"{str(checkpoint)!r} is from another method or model: it lacks {next(iter(there))!r}.")


def load_extra(checkpoint: Path) -> dict[str, Any]:
    return dict(load_file(checkpoint / _EXTRA))


def load_optimizer(checkpoint: Path, optimizer: Any, scheduler: Any) -> None:
    saved = json.loads((checkpoint / "optimizer.json").read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {int(key): dict(values) for key, values in saved["state"].items()}
    for name, tensor in load_file(checkpoint / "optimizer.safetensors").items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    scheduler.load_state_dict(json.loads((checkpoint / "scheduler.json").read_text(encoding="utf-8")))


def load_random(checkpoint: Path) -> None:
    saved = json.loads((checkpoint / "random.json").read_text(encoding="utf-8"))
    tensors = load_file(checkpoint / "random.safetensors")
    random.setstate((saved["python"][0], tuple(saved["python"][1]), saved["python"][2]))
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(tensors["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{index}"], index)


def _learning(model: Any) -> dict[str, Any]:
    """Every parameter that learns, once each where layers share one."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _save_weights(directory: Path, model: Any) -> None:
    tensors = {name: parameter.detach() for name, parameter in _learning(model).items()}
    split = split_torch_state_dict_into_shards(
        tensors, filename_pattern=_WEIGHTS + "{suffix}.safetensors", max_shard_size=_SHARD
    )
    for file, names in split.filename_to_tensors.items():
        _save_tensors(directory / file, {name: tensors[name] for name in names})


def _save_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)


def _save_optimizer(directory: Path, optimizer: Any) -> None:
    saved = optimizer.state_dict()
    tensors, rest = {}, {}
    for index, values in saved["state"].items():
        tensors.update({f"{index}/{key}": item.contiguous() for key, item in values.items() if torch.is_tensor(item)})
        rest[index] = {key: item for key, item in values.items() if not torch.is_tensor(item)}
    save_file(tensors, directory / "optimizer.safetensors")
    text = json.dumps({"state": rest, "param_groups": saved["param_groups"]}, default=_plain)
    (directory / "optimizer.json").write_text(text, encoding="utf-8")


def _save_random(directory: Path) -> None:
    version, numbers, gauss = random.getstate()
    tensors = {"torch": torch.get_rng_state()}
    tensors |= {f"cuda{index}": torch.cuda.get_rng_state(index) for index in range(torch.cuda.device_count())}
    save_file(tensors, directory / "random.safetensors")
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    saved = {"python": [version, list(numbers), gauss], "numpy": numpy_state}
    (directory / "random.json").write_text(json.dumps(saved, default=_plain), encoding="utf-8")


def _plain(value: Any) -> Any:
    """What JSON has no word for: numbers of numpy and torch as numbers, the rest as text."""
    return value.item() if hasattr(value, "item") else str(value)


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
