"""Checkpoints: trainable weights, optimizer state, learning-rate schedule, random states, position in the data.

Knows files: safetensors and JSON, no pickles, the manifest last, published by one rename. A torn
checkpoint is never resumed from. Weights are kept raw, as they are trained: what a method writes
as its result may be rounded, pruned or merged, and a resumed run must continue bit for bit.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from camelid_core import staging
from camelid_core.errors import ArtefactError, NanLoss
from camelid_core.integrity import fsync_directory, safetensors_header, sha256, write_durably
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import load_file, save_file

from . import disk_space
from .run_totals import RunTotals

_MANIFEST = "checkpoint.json"
_WEIGHTS = "weights"
_SHARD = "4GB"
_EXTRA = "method.safetensors"
_PREFIX = "step-"
_IDENTITY = "identity.json"

RngState = tuple[dict[str, Any], dict[str, torch.Tensor]]
"""Random states: the part kept as JSON, and the part kept as tensors."""


def save(
    directory: Path,
    step: int,
    model: Any,
    optimizer: Any,
    scheduler: Any,
    state: Any,
    totals: RunTotals,
    extra: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    rng_states: Sequence[RngState] = (),
) -> Path:
    """Write `directory/step-N`, complete or not at all.

    `extra` are tensors that the tuning method needs beside the trainable parameters; `identity` is what must be the
    same for a run to resume from here; `rng_states` are those of each process, where there are several.

    Raises:
        DiskFull: no room; nothing was written.
        NanLoss: a parameter is no number; nothing was written.
    """
    target = directory / directory_name(step)
    if is_valid(target):
        return target
    require_finite(model)
    directory.mkdir(parents=True, exist_ok=True)
    needed = (
        _size(_trainable_parameters(model))
        + _size(extra or {})
        + sum(map(_size, optimizer.state_dict()["state"].values()))
    )
    disk_space.require(directory, needed, f"the checkpoint of step {step}")
    with staging.directory(target) as staged:  # on a full disk its room is what the job needs to say so
        _save_weights(staged, model)
        _save_tensors(staged / _EXTRA, extra or {})
        _save_optimizer(staged, optimizer)
        (staged / "scheduler.json").write_text(json.dumps(scheduler.state_dict(), default=_plain), encoding="utf-8")
        for number, rng_state in enumerate(rng_states or [capture_rng_state()]):
            _save_rng_state(staged, number, rng_state)
        (staged / "tally.json").write_text(json.dumps(asdict(totals)), encoding="utf-8")
        (staged / _IDENTITY).write_text(json.dumps(dict(identity or {})), encoding="utf-8")
        state.save_to_json(str(staged / "trainer_state.json"))
        files = {path.name: sha256(path) for path in sorted(staged.iterdir()) if path.is_file()}
        for name in files:
            _fsync(staged / name)
        write_durably(staged / _MANIFEST, json.dumps({"step": step, "files": files}).encode())
        shutil.rmtree(target, ignore_errors=True)  # only a damaged one can be there
        staged.replace(target)
    fsync_directory(directory)
    return target


def prune(directories: Sequence[Path], step: int, keep: int, best: bool = False) -> None:
    """Delete all but the `keep` checkpoints with the most steps, up to `step`; with `best`, what was the best when
    they were written stays as well. Any beyond `step` is damaged, or the run would have gone on from there."""
    found = sorted((path for each in directories for path in each.glob(f"{_PREFIX}*")), key=_newest_first)
    kept = [path for path in found if path.name <= directory_name(step)][:keep]
    spared = {path.name for path in kept}
    for path in kept if best else ():
        with suppress(OSError, ValueError, TypeError):  # a damaged one has no say
            spared.add(directory_name(load_totals(path).best_step))
    for path in found:
        if path.name not in spared:
            shutil.rmtree(path, ignore_errors=True)


def newest_valid(
    directories: Iterable[Path], damaged: Callable[[Path, str], object] = lambda path, why: None
) -> Path | None:
    """The checkpoint with the most steps whose files are all intact; `damaged` is called with each that was skipped,
    and why."""
    found = (path for directory in directories for path in directory.glob(f"{_PREFIX}*"))
    for path in sorted(found, key=_newest_first):
        why = damage(path)
        if not why:
            return path
        damaged(path, why)
    return None


def at_step(directories: Iterable[Path], step: int) -> Path | None:
    """A valid checkpoint of that step."""
    return next((each for directory in directories if is_valid(each := directory / directory_name(step))), None)


def directory_name(step: int) -> str:
    return f"{_PREFIX}{step:08d}"


def is_valid(checkpoint: Path) -> bool:
    return not damage(checkpoint)


def damage(checkpoint: Path) -> str:
    """What is wrong with it, naming the file; nothing if all is as it was written."""
    try:
        files = dict(json.loads((checkpoint / _MANIFEST).read_text(encoding="utf-8"))["files"])
        if not files:
            return f"{_MANIFEST} lists no files"
        for name, digest in files.items():
            if not (checkpoint / name).is_file():
                return f"{name} is missing"
            if sha256(checkpoint / name) != digest:
                return f"{name} is not as it was written"
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # whatever a torn manifest still parses as
        return f"{_MANIFEST} cannot be read"
    return ""


def require_finite(model: Any) -> None:
    """Raise NanLoss if a parameter that learns holds a value that is no number."""
    for name, parameter in _trainable_parameters(model).items():
        if not bool(torch.isfinite(parameter.detach()).all()):
            raise NanLoss(f"the parameter {name!r} became NaN or infinite; the last checkpoint is kept.")


def progress_of(checkpoint: Path) -> tuple[int, int]:
    """The checkpoint's step, and the run's last step."""
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return int(state["global_step"]), int(state["max_steps"])


def load_identity(checkpoint: Path) -> dict[str, Any]:
    return dict(json.loads((checkpoint / _IDENTITY).read_text(encoding="utf-8")))


def load_totals(checkpoint: Path) -> RunTotals:
    return RunTotals(**json.loads((checkpoint / "tally.json").read_text(encoding="utf-8")))


def load_weights(checkpoint: Path, model: Any) -> None:
    """Put the saved parameters into `model`.

    Raises:
        ArtefactError: they are not the ones that learn in `model`.
    """
    there = _trainable_parameters(model)
    for path in sorted(checkpoint.glob(f"{_WEIGHTS}*.safetensors")):
        for name, tensor in _load_tensors(path).items():
            parameter = there.pop(name, None)
            if parameter is None or parameter.shape != tensor.shape:
                raise ArtefactError(f"{str(checkpoint)!r} is from another method or model: it holds {name!r}.")
            with torch.no_grad():
                parameter.copy_(tensor)
    if there:
        raise ArtefactError(f"{str(checkpoint)!r} is from another method or model: it lacks {next(iter(there))!r}.")


def load_method_state(checkpoint: Path) -> dict[str, Any]:
    return _load_tensors(checkpoint / _EXTRA)


def load_optimizer(checkpoint: Path, optimizer: Any, scheduler: Any) -> None:
    saved = json.loads((checkpoint / "optimizer.json").read_text(encoding="utf-8"))
    state: dict[int, dict[str, Any]] = {int(key): dict(values) for key, values in saved["state"].items()}
    for name, tensor in _load_tensors(checkpoint / "optimizer.safetensors").items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
    scheduler.load_state_dict(json.loads((checkpoint / "scheduler.json").read_text(encoding="utf-8")))


def load_rng_state(checkpoint: Path, number: int = 0) -> bool:
    """Restore the random states of process `number`; False if the run had no process of that number."""
    name = _rng_state_name(number)
    if not (checkpoint / f"{name}.json").exists():
        return False
    saved = json.loads((checkpoint / f"{name}.json").read_text(encoding="utf-8"))
    tensors = _load_tensors(checkpoint / f"{name}.safetensors")
    random.setstate((saved["python"][0], tuple(saved["python"][1]), saved["python"][2]))
    np.random.set_state(saved["numpy"])
    torch.set_rng_state(tensors["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda{index}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{index}"], index)
    return True


def process_count(checkpoint: Path) -> int:
    """How many processes (world size) the run had."""
    return len(list(checkpoint.glob("random*.json")))


def capture_rng_state() -> RngState:
    """The random states of this process: Python, NumPy, torch, CUDA."""
    version, numbers, gauss = random.getstate()
    tensors = {"torch": torch.get_rng_state()}
    tensors |= {f"cuda{index}": torch.cuda.get_rng_state(index) for index in range(torch.cuda.device_count())}
    numpy_state: Any = np.random.get_state(legacy=False)
    numpy_state["state"]["key"] = numpy_state["state"]["key"].tolist()
    return {"python": [version, list(numbers), gauss], "numpy": numpy_state}, tensors


def _trainable_parameters(model: Any) -> dict[str, Any]:
    """Every trainable parameter, once each where layers share one."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _save_weights(directory: Path, model: Any) -> None:
    tensors = {name: parameter.detach() for name, parameter in _trainable_parameters(model).items()}
    split = split_torch_state_dict_into_shards(
        tensors, filename_pattern=_WEIGHTS + "{suffix}.safetensors", max_shard_size=_SHARD
    )
    for file, names in split.filename_to_tensors.items():
        _save_tensors(directory / file, {name: tensors[name] for name in names})


def _save_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, path)


def _load_tensors(path: Path) -> dict[str, Any]:
    safetensors_header(path)  # a header that claims the moon is refused before any memory is given to it
    return dict(load_file(path))


def _size(tensors: Mapping[str, Any]) -> int:
    return sum(each.numel() * each.element_size() for each in tensors.values() if torch.is_tensor(each))


def _newest_first(path: Path) -> int:
    step = path.name.removeprefix(_PREFIX)
    return -int(step) if step.isdecimal() else 1


def _save_optimizer(directory: Path, optimizer: Any) -> None:
    saved = optimizer.state_dict()
    tensors, rest = {}, {}
    for index, values in saved["state"].items():
        tensors.update({f"{index}/{key}": item.contiguous() for key, item in values.items() if torch.is_tensor(item)})
        rest[index] = {key: item for key, item in values.items() if not torch.is_tensor(item)}
    save_file(tensors, directory / "optimizer.safetensors")
    text = json.dumps({"state": rest, "param_groups": saved["param_groups"]}, default=_plain)
    (directory / "optimizer.json").write_text(text, encoding="utf-8")


def _save_rng_state(directory: Path, number: int, state: RngState) -> None:
    saved, tensors = state
    save_file(tensors, directory / f"{_rng_state_name(number)}.safetensors")
    text = json.dumps(saved, default=_plain)
    (directory / f"{_rng_state_name(number)}.json").write_text(text, encoding="utf-8")


def _rng_state_name(number: int) -> str:
    return f"random-{number}" if number else "random"


def _plain(value: Any) -> Any:
    """What JSON has no word for: numbers of numpy and torch as numbers, the rest as text."""
    return value.item() if hasattr(value, "item") else str(value)


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
