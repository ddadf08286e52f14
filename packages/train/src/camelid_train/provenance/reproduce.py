"""The bundle of a run: a small archive from which another person can reproduce it.

Knows jobs, their events and zip files. Contains no weights, no rows of data, and nothing of the user's home but the
paths that the recipe itself names, written from `~`.
"""

from __future__ import annotations

import json
import re
import shlex
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core.artefacts import MANIFEST, is_artefact
from camelid_core.config import validate
from camelid_core.errors import JobError
from camelid_core.events import read_events
from camelid_core.jobs import Job, JobStore
from camelid_core.jobs.run_directories import EVENTS, attempts
from camelid_core.writers.file_formats import atomic_file

from camelid_train.config import Recipe
from camelid_train.toml import to_toml

TASK = "train"
_DOS_EPOCH = 315532800.0  # no zip knows an earlier time


@dataclass(frozen=True, slots=True)
class _RunRecord:
    """A run as the job table and its events record it."""

    job: Job
    recipe: Recipe
    origin: Mapping[str, Any]
    files: Mapping[str, str]


def bundle(store: JobStore, job_id: int, target: Path) -> Path:
    """Write the archive for a training run: to `target`, or into it under the run's name if it is a directory.

    The same run gives the same bytes. A run that is still going, or failed, gives its events so far.

    Raises:
        JobError: no such job, or no training.
        DataError: nothing can be written there.
    """
    job = store.get(job_id)
    if job.task != TASK:
        raise JobError(f"Job {job_id} is a {job.task} job; only training runs can be bundled.")
    paths = [directory / EVENTS for directory in reversed(attempts(store.path.parent, job_id))]
    events = [event for path in paths for event in read_events(path)[0]]
    origins = (event for event in reversed(events) if event.get("kind") == "origin")
    manifest = _manifest(job)
    recipe = validate(Recipe, job.config, f"job {job_id}")
    record = _RunRecord(job, recipe, next(origins, {}), _hashes(manifest))
    members = {
        "README.md": _readme(record),
        "recipe.toml": _recipe(record),
        "requirements.txt": "".join(
            f"{name}=={version}\n" for name, version in record.origin.get("packages", {}).items()
        ),
        "origin.json": _json({key: value for key, value in record.origin.items() if key not in ("kind", "time")}),
        "result.json": _json(
            {"state": job.state, "error": job.error, "summary": dict(job.summary), "files": dict(record.files)}
        ),
        "events.jsonl": "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events),
    }
    path = target / f"{job.label}.zip" if target.is_dir() else target
    _write(path, {name: _without_home(text) for name, text in members.items()}, job.created)
    return path


def _recipe(record: _RunRecord) -> str:
    """The complete recipe, without the output directory."""
    values = record.recipe.model_dump(mode="json")
    values["train"]["output"] = ""
    return to_toml(values, [f"The settings of {record.job.label}, complete.", f"Run: {_command(record)}"])


def _command(record: _RunRecord) -> str:
    """The command; `auto` dtypes depend on the machine, so the dtype of the run is named."""
    fixed = [f"model.dtype={record.origin['dtype']}"] if record.origin.get("dtype") else []
    return shlex.join(["camelid", "train", "recipe.toml", *fixed])


def _readme(record: _RunRecord) -> str:
    origin, machine = record.origin, record.origin.get("machine", {})
    lines = [
        f"# {record.job.label}: run it again",
        "",
        "```sh",
        "pip install -r requirements.txt   # the versions it ran with",
        _command(record),
        "```",
        "",
        "## What must be the same",
        "",
        f"- The base model: {_base(origin)}",
        f"- The prompt template: {_template(origin)}",
        *(_dataset(use) for use in origin.get("datasets", ())),
        "",
        "Files are not in here: put data and model where `recipe.toml` names them, or change the names there.",
        "",
        "## What it ran on",
        "",
        *(f"- {name}: {value}" for name, value in machine.items() if value),
        *([] if machine else ["Not known: the run ended before it had its data."]),
        "",
        "With the same versions, dtype and count of threads on the same kind of processor, a run on the CPU",
        "ends with the same weights to the bit. Elsewhere, and on GPUs, sums are added up in another order:",
        "losses agree closely then, not to the bit.",
        "",
        "## What came out",
        "",
        f"- state: {record.job.state}",
        *(f"- {name}: {value}" for name, value in record.job.summary.items()),
        *(f"- SHA-256 of {name}: {digest}" for name, digest in record.files.items() if name.endswith(".safetensors")),
        "",
        "`origin.json` and `result.json` say the same for programs, `events.jsonl` is all that the run reported.",
    ]
    return "\n".join(lines) + "\n"


def _base(origin: Mapping[str, Any]) -> str:
    base = origin.get("base", {})
    return f"{base['id']}, fingerprint `{base['fingerprint']}`." if base else "not known."


def _template(origin: Mapping[str, Any]) -> str:
    template = origin.get("template", {})
    return f"{template['name']}, SHA-256 `{template['sha256']}`." if template else "not known."


def _dataset(use: Mapping[str, Any]) -> str:
    return f"- The data: {use['id']}, {use['rows']:,} rows used, their SHA-256 `{use['sha256']}`."


def _manifest(job: Job) -> Mapping[str, Any]:
    """The manifest of the published result, if it is still there."""
    published = Path(job.published)
    try:
        known = bool(job.published) and is_artefact(published)
        values = json.loads((published / MANIFEST).read_text(encoding="utf-8")) if known else {}
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _hashes(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(entry["sha256"]) for name, entry in manifest.get("files", {}).items()}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _without_home(text: str) -> str:
    """The user's home directory, wherever a path in the text begins with it, as `~`."""
    home = str(Path.home()).rstrip("/")
    rest = r"(?:/[\w.-]+)"  # taken along with what it is part of: in /mnt/root, /root is no home
    paths = rf"{re.escape(home)}(?![\w.-])({rest}*)|{rest}+"
    return re.sub(paths, lambda path: path[0] if path[1] is None else f"~{path[1]}", text) if home else text


def _write(path: Path, members: Mapping[str, str], created: float) -> None:
    moment = time.gmtime(max(created, _DOS_EPOCH))[:6]
    with atomic_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            entry = zipfile.ZipInfo(name, moment)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text.encode("utf-8", "backslashreplace"), zipfile.ZIP_DEFLATED)
