"""From a name or a YAML file to the configuration of a task, with its data replaced by local files.

Knows the harness's index of tasks and the fields of their configuration. Knows no model. Nothing that a person's file
holds is run: code in it (`!function`, `class`) is refused, and templates are rendered in a sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval.utils
from camelid_core import strict_yaml
from camelid_core.errors import DataError, UnknownName, UsageError
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
_FORMATS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
_MAX_BYTES = 1_000_000


_CODE = "tag '!"
"""What YAML says of a value with a tag of its own, such as `!function`."""


def task_config(reference: str, shots: int | None, data: str) -> dict[str, Any]:
    """The configuration of the task `reference`, which reads `data` if that is given.

    Raises:
        UnknownName: no task has that name.
        UsageError: a group of tasks, a task that runs code of its own, or one of images or sounds.
        DataError: data that cannot be read.
    """
    _sandbox_templates()
    config = _of_file(Path(reference)) if reference.endswith((".yaml", ".yml")) else _of_name(reference)
    for field in ("class", "doc_to_image", "doc_to_audio"):
        if config.get(field) is not None:
            raise UsageError(f"task {reference!r} needs {field}, which is not supported here: take a task of texts.")
    if config.get("unsafe_code"):
        raise UsageError(f"task {reference!r} runs what a model wrote, which is not done here.")
    for structural in ("tag", "group", "task_list"):
        config.pop(structural, None)
    if shots is not None:
        config["num_fewshot"] = shots
    config = _with_data(config, data) if data else config
    _check_local(config)
    return config


def _check_local(config: Mapping[str, Any]) -> None:
    """Refuse a task whose rows would be downloaded, or made by code."""
    files = str((config.get("dataset_kwargs") or {}).get("data_files", ""))
    if config.get("dataset_path") in _FORMATS.values() and not config.get("custom_dataset") and "://" not in files:
        return
    splits = sorted({str(config[name]) for name in _SPLITS if config.get(name)})
    where = " ".join(str(config[key]) for key in ("dataset_path", "dataset_name") if config.get(key))
    raise DataError(
        f"task {config['task']!r} reads {', '.join(splits) or 'rows'} of {where or 'a source of its own'}, and nothing "
        f"is downloaded here. Put the rows into files named as the splits, such as "
        f"{splits[0] if splits else 'test'}.jsonl or .parquet, and type --task lm-eval:{config['task']}=DIRECTORY."
    )


def _of_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES:,} bytes, which no task file is")
        config = strict_yaml.loads(text.decode("utf-8"))
    except (OSError, RecursionError, ValueError) as error:
        if _CODE in str(error):
            raise UsageError(
                f"{str(path)!r} holds code ({str(error).splitlines()[0]}), which is not run. Write its fields as Jinja "
                "templates, or make the columns that it computes part of the data."
            ) from None
        raise DataError(f"{str(path)!r} cannot be read as a task: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("task"), str):
        raise DataError(f"{str(path)!r} is no task: it needs a field `task` with its name.")
    if "include" in config:
        raise UsageError(f"{str(path)!r} includes another file; copy what it says into this one.")
    return config


def _of_name(name: str) -> dict[str, Any]:
    entry = _index().get(name)
    if entry is None:
        raise UnknownName("lm-eval task", name, list(_index()))
    if entry.kind.name not in ("TASK", "PY_TASK"):
        raise UsageError(f"{name!r} is a {entry.kind.name.lower()} of several tasks of lm-eval; name each of them.")
    return dict(load_yaml(entry.yaml_path))  # its functions are the harness's own


@cache
def _index() -> Mapping[str, Any]:
    return TaskManager().task_index


def _with_data(config: dict[str, Any], data: str) -> dict[str, Any]:
    """The same task on local files: one file for all splits, or a directory with a file for each of them."""
    path = Path(data)
    splits = sorted({str(config[name]) for name in _SPLITS if config.get(name)})
    files = {split: _file_of(path, split) for split in splits} if path.is_dir() else dict.fromkeys(splits, path)
    kinds = {_FORMATS.get(each.suffix) for each in files.values()}
    if len(kinds) != 1 or None in kinds:
        raise DataError(f"{data!r} cannot be read: its files must all be JSON, JSON Lines, CSV or Parquet.")
    names = {split: str(each) for split, each in files.items()}
    return {
        **{key: value for key, value in config.items() if key not in ("dataset_name", "custom_dataset")},
        "dataset_path": kinds.pop(),
        "dataset_kwargs": {"data_files": names},
    }


def _file_of(directory: Path, split: str) -> Path:
    for suffix in _FORMATS:
        if (found := directory / f"{split}{suffix}").is_file():
            return found
    raise DataError(f"{str(directory)!r} has no rows of the split {split!r}: put them into {split}.jsonl or .parquet.")


def _sandbox_templates() -> None:
    """A task's templates are texts from outside: they must reach nothing but the row."""
    if isinstance(lm_eval.utils.env, ImmutableSandboxedEnvironment):
        return
    sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    sandbox.filters.update(lm_eval.utils.env.filters)
    lm_eval.utils.env = sandbox
