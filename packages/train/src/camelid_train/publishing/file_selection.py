"""Which files of an artefact are published, and in what form; every other one is left out for a reason that is said.

What may leave is listed here by name; rows, logs, predictions and training state are not. Knows names of files and what
must be taken out of them. Knows nothing of hubs and cards.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from camelid_core.artefacts import MANIFEST, Artefact, FileEntry, Manifest
from camelid_core.errors import ArtefactError
from camelid_core.integrity import safetensors_header
from camelid_core.models.gguf import gguf_header, gguf_metadata

from .outgoing_file import README, OutgoingFile
from .redaction import Findings, Redactor, in_words

_NEVER = {
    "*optimizer*": "optimizer state",
    "*scheduler*": "training state",
    "rng_state*": "training state",
    "trainer_state*": "training state",
    "training_args*": "training state",
    "checkpoint-*/*": "a checkpoint",
    "*predictions*": "predictions",
    "*.jsonl": "rows or logs",
    "*.csv": "rows or logs",
    "*.tsv": "rows or logs",
    "*.parquet": "rows or logs",
    "*.arrow": "rows or logs",
    "*.log": "rows or logs",
    "*.log.*": "rows or logs",
}
_WEIGHTS = ("*.safetensors", "*.gguf")
_VOCABULARY = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "*.model", "*.tiktoken")
_PROMPTS = ("chat_template.jinja", "additional_chat_templates/*.jinja")
_SETTINGS = (
    "config.json", "generation_config.json", "adapter_config.json", "quantize_config.json", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "preprocessor_config.json", "processor_config.json",
    "proof.json",
    "*.safetensors.index.json",
)  # fmt: skip
LICENCE_FILES = (
    "LICEN[CS]E*",
    "NOTICE*",
    "Notice*",
    "USE_POLICY*",
    "COPYING*",
    "Responsible-Use-Guide*",
    "*_license.txt",
)
_GGUF_VOCABULARY = "tokenizer.ggml."
_MAX_TEXT = 64_000_000
_SAMPLES = ("samples", "examples", "texts", "rows_used")
"""Keys of metrics that hold texts of rows."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that stays here, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The files of an artefact that leave, but for card and manifest, and those that do not."""

    files: tuple[OutgoingFile, ...]
    left_out: tuple[LeftOut, ...]


def select_files(artefact: Artefact, redactor: Redactor) -> Selection:
    """Every file below the artefact, taken or left out. It must have been verified.

    Raises:
        ArtefactError: a path or a secret is in a file that must not be changed.
    """
    listed, files, left_out = artefact.manifest.files, [], []
    for path in sorted(path for path in artefact.path.rglob("*") if path.is_file()):
        name = path.relative_to(artefact.path).as_posix()
        if name in (MANIFEST, README):
            continue
        if why := _why_not(name) or ("" if name in listed else "not in the artefact's manifest"):
            left_out.append(LeftOut(name, why))
        else:
            files.append(_outgoing(name, path, redactor, listed[name]))
    return Selection(tuple(files), tuple(left_out))


def licence_files(directory: Path, taken: set[str], redactor: Redactor) -> Iterator[OutgoingFile]:
    """The licence texts in a directory (the base model's), but for those whose names are `taken`."""
    for path in sorted({path for pattern in LICENCE_FILES for path in directory.glob(pattern) if path.is_file()}):
        if path.name not in taken and path.stat().st_size < _MAX_TEXT:
            yield _outgoing(path.name, path, redactor)


def published_manifest(manifest: Manifest, files: tuple[OutgoingFile, ...], redactor: Redactor) -> Manifest:
    """The manifest as it leaves: it lists the files as they leave, and names no place on this machine.

    Raises:
        ArtefactError: its prompt template holds a path or a secret.
    """
    found = Findings()
    values = manifest.model_dump(mode="json")
    for entry in (values["base"], *values["models"].values()):
        if entry:
            entry["path"] = ""
    values["metrics"] = _without_samples(values["metrics"])
    redacted = redactor.values({**values, "files": {}}, found)
    _refuse_exact(MANIFEST, found.exact)
    entries = {each.name: FileEntry(size=each.size, sha256=each.sha256) for each in files if each.name != MANIFEST}
    return Manifest.model_validate(redacted).model_copy(update={"files": entries})


def manifest_file(manifest: Manifest) -> OutgoingFile:
    return OutgoingFile.of(MANIFEST, manifest.model_dump_json(indent=2).encode(), "without this machine's paths")


def _why_not(name: str) -> str:
    base = name.rpartition("/")[2]
    for pattern, why in _NEVER.items():
        if fnmatchcase(base, pattern) or fnmatchcase(name, pattern):
            return why
    known = (*_WEIGHTS, *_VOCABULARY, *_PROMPTS, *_SETTINGS, *LICENCE_FILES)
    return "" if any(_fits(name, pattern) for pattern in known) else "no part of a model"


def _fits(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def _outgoing(name: str, path: Path, redactor: Redactor, verified: FileEntry | None = None) -> OutgoingFile:
    """The file as it leaves, with what was taken out. `verified` is known of it: large files are not read again."""
    if any(_fits(name, pattern) for pattern in _WEIGHTS):
        _check_metadata(name, path, redactor)
        return OutgoingFile(name, path, verified.size, verified.sha256) if verified else OutgoingFile.of(name, path)
    if path.stat().st_size > _MAX_TEXT:
        raise ArtefactError(
            f"{name!r} has more than {_MAX_TEXT:,} bytes, which is no text of a model; it cannot leave."
        )
    text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    if any(_fits(name, pattern) for pattern in (*_VOCABULARY, *_PROMPTS)):
        _check_exact(name, text, redactor)
        return OutgoingFile.of(name, path)
    found = Findings()
    plain = _settings(text, redactor, found) if name.endswith(".json") else redactor.text(text, found.changed)
    _refuse_exact(name, found.exact)
    if not found.changed.total():
        return OutgoingFile.of(name, path)
    return OutgoingFile.of(name, plain.encode("utf-8", errors="surrogateescape"), f"without {found}")


def _settings(text: str, redactor: Redactor, found: Findings) -> str:
    """A file of settings; its bytes stay as they are where there is nothing to take out."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return redactor.text(text, found.changed)
    plain = redactor.values(values, found)
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def _check_exact(name: str, text: str, redactor: Redactor) -> None:
    counts: Counter[str] = Counter()
    if name == "tokenizer.json":
        _check_tokenizer(text, redactor, counts)
    elif name.endswith(".jinja"):
        redactor.text(text, counts)
    else:
        redactor.vocabulary(text, counts)
    _refuse_exact(name, counts)


def _check_tokenizer(text: str, redactor: Redactor, counts: Counter[str]) -> None:
    """Vocabulary and merges may hold pieces of any path; what is beside them may not."""
    redactor.vocabulary(text, counts)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = {}
    model = values.pop("model", {}) if isinstance(values, dict) else {}
    found = Findings()
    for each in (values, {key: item for key, item in model.items() if key not in ("vocab", "merges")}):
        redactor.values(each, found, exact=True)
    counts.update(found.exact)


def _check_metadata(name: str, path: Path, redactor: Redactor) -> None:
    found = Findings()
    if path.suffix == ".gguf":
        _check_gguf(path, redactor, found)
    else:
        redactor.values(safetensors_header(path).get("__metadata__", {}), found, exact=True)
    _refuse_exact(name, found.exact)


def _check_gguf(path: Path, redactor: Redactor, found: Findings) -> None:
    """Texts by themselves; in lists of texts and in the vocabulary, what no token can be by chance."""
    metadata = gguf_metadata(path)
    texts = {key: value for key, value in metadata.items() if not key.startswith(_GGUF_VOCABULARY)}
    redactor.values(texts, found, exact=True)
    if found.exact.total():
        return
    header = re.sub(r"[\0-\x1f]+", "\n", gguf_header(path).decode(errors="replace"))
    if any(key.startswith(_GGUF_VOCABULARY) for key in metadata):
        redactor.vocabulary(header, found.exact)
    else:
        redactor.text(header, found.exact)


def _refuse_exact(name: str, counts: Counter[str]) -> None:
    if counts.total():
        raise ArtefactError(
            f"{name!r} holds {in_words(counts)} of this machine or of a person, and it cannot be changed without "
            "changing the model. Nothing was published; make the artefact again without that."
        )


def _without_samples(values: Any) -> Any:
    if isinstance(values, dict):
        kept = {key: item for key, item in values.items() if not (key in _SAMPLES and isinstance(item, list | dict))}
        return {key: _without_samples(item) for key, item in kept.items()}
    return [_without_samples(item) for item in values] if isinstance(values, list) else values
