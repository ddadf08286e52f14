"""`hf:ORG/NAME[@REVISION][/CONFIG]`: any dataset of the Hub as a source, streamed; nothing is kept on disk.

Knows how such a name is written and the `datasets` library. What a row means, the readers know.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from camelid_core.errors import CamelidError, DataError, MissingPackage, UsageError
from camelid_core.paths import HUB_PREFIX
from camelid_core.records import Record

from .dataset import Dataset
from .noted_records import noted

if TYPE_CHECKING:
    from camelid_core.readers import Faults

_PART = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(rf"hf:(?P<repo>{_PART}/{_PART})(@(?P<revision>[\w.-]+))?(/(?P<config>[\w.-]+))?")
_SECONDS = 10.0
_PACKAGE_MISSING = "Datasets of the Hub need the `datasets` library. Type: pip install 'camelid-core[data]'"


@dataclass(frozen=True, slots=True)
class HubDatasetName:
    """A parsed name. Without revision it is the newest; without configuration the dataset's default."""

    repo: str
    revision: str = ""
    config: str = ""

    @classmethod
    def parse(cls, text: str) -> HubDatasetName:
        found = _NAME.fullmatch(text)
        if found is None:
            raise UsageError(
                f"{text!r} names no dataset of the Hub; write hf:ORG/NAME, and as you like @REVISION and /CONFIG: "
                "hf:openai/gsm8k@main/socratic."
            )
        return cls(found["repo"], found["revision"] or "", found["config"] or "")


def hub_dataset(text: str) -> Dataset:
    """The dataset as a source. No request is made to the Hub before rows are read.

    Raises:
        UsageError: the name is not written as it must be.
    """
    name = HubDatasetName.parse(text)

    return Dataset(
        name=text,
        help=f"{name.repo} of the Hub, streamed.",
        licence="unknown",
        languages=(),
        rows=0,
        load=noted(lambda faults, _: records(_stream_rows(name), text, faults)),
        source=text,
        url=f"https://huggingface.co/datasets/{name.repo}",
        missing=lambda: "" if find_spec("datasets") else _PACKAGE_MISSING,
    )


def records(rows: Iterable[Mapping[str, Any]], source: str, faults: Faults | None = None) -> Iterator[Record]:
    """Each row by the reader whose columns it has, a plugin's too: the same choice as for a file. `faults` takes notes.

    Raises:
        DataError: naming the row, and for a dataset without any.
    """
    from camelid_core.readers import Faults, ReadContext, RowFault, reader_by_columns

    reader, read_context = reader_by_columns(), ReadContext(source, faults=faults or Faults())
    number = 0
    for number, row in enumerate(rows, 1):
        try:
            yield reader.read_row(row, number, read_context)
        except RowFault as fault:
            raise fault.at(f"{source}, row {number}") from None
    if not number:
        raise DataError(f"{source} holds no rows.", "dataset_empty")


def _stream_rows(name: HubDatasetName) -> Iterator[Mapping[str, Any]]:
    try:
        import datasets
    except ImportError:
        raise MissingPackage(_PACKAGE_MISSING) from None
    try:
        where = f"hf://datasets/{name.repo}"  # the plain name would mean a directory here before it means the Hub
        parts: Any = datasets.load_dataset(where, name.config or None, revision=_resolve_commit(name), streaming=True)
        yield from parts["train"] if "train" in parts else next(iter(parts.values()))
    except CamelidError:
        raise
    except Exception as error:  # each file format and network library has its own; their messages are good
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = _reason(error).replace("REPO", name.repo) or first
        raise DataError(f"{HUB_PREFIX}{name.repo} cannot be read: {reason}") from None


_UNREACHABLE = (
    "the Hub cannot be reached from here. Without a network, fetch its files elsewhere "
    "(`hf download --repo-type dataset REPO`), copy them here and name a file."
)
_NOT_FOUND = "the Hub shows no such dataset. Check the name; if it is private, type `hf auth login` first."
_REASONS = {
    "GatedRepoError": "its makers ask for consent. Agree to the terms on its page, then type `hf auth login`.",
    "RevisionNotFoundError": "it has no such revision; its page lists them.",
    "RepositoryNotFoundError": _NOT_FOUND,
    "DatasetNotFoundError": _NOT_FOUND,
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set, so that the Hub is not asked; unset it, or name a file.",
    "TransportError": _UNREACHABLE,
    "ConnectionError": _UNREACHABLE,
    "TimeoutError": _UNREACHABLE,
}
"""Exceptions of the Hub's libraries by class name, the most specific first, and what to do then."""


def _reason(error: BaseException) -> str:
    classes = {each.__name__ for each in type(error).__mro__}
    return next((sentence for name, sentence in _REASONS.items() if name in classes), "")


def _resolve_commit(name: HubDatasetName) -> str:
    """The commit of the revision, so that all files are of one commit; one request with a short timeout."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    return str(api.dataset_info(name.repo, revision=name.revision or None, timeout=_SECONDS).sha)
