"""The token cache: content-addressed shards, made in parallel, listed and pruned.

Knows directories, threads and locks. Knows nothing of cut-offs, recipes or datasets.

A shard holds the tokens of up to `SHARD_ROWS` consecutive records and is named by a digest of their
text, the template, the tokenizer and the code's version. So a run with the same rows under the same template
finds them, and one that was killed halfway resumes where the finished shards end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from camelid_core import paths, staging
from camelid_core.errors import CamelidError, DataError
from camelid_core.records import Record
from camelid_core.tokenization.encoder import Encoder, TokenArrays

from . import shards
from .cache_keys import chunk_key, encoder_key
from .encoded_dataset import DirectoryInUse, EncodedDataset
from .shards import ShardLayout

SHARD_ROWS = 4096
"""Records per shard: a second's work, so little is lost to a kill."""
SHARD_CHARACTERS = 8_000_000
"""A shard ends earlier where conversations are long, so that memory stays bounded."""
_BATCH = 256
REFUSALS_NAMED = 3
"""Rows without a form in the template that are named; the others are counted."""

EncodingProgress = Callable[[int, "int | None"], None]
"""Called with how many rows are done, and of how many if that is known."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """What the cache holds of some data under one template and tokenizer; `used` is the last use in Unix time."""

    key: str
    template: str
    tokenizer: str
    sources: tuple[str, ...]
    rows: int
    tokens: int
    bytes: int
    used: float


@dataclass(frozen=True, slots=True)
class _Shard:
    """One finished shard as `encode` needs it: its layout, and how many tokens and trained tokens each row has."""

    layout: ShardLayout
    lengths: Any
    trained: Any


class TokenCache:
    """Tokenised rows under `directory`, by default `cache/tokens` in Camelid's home."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or paths.home() / "cache" / "tokens"

    def encode(
        self,
        records: Iterable[Record],
        encoder: Encoder,
        *,
        workers: int | None = None,
        progress: EncodingProgress | None = None,
        total: int | None = None,
    ) -> EncodedDataset:
        """Tokenise `records`; what is on disk already is only verified. A conversation that the template cannot render
        is a row without tokens; of the first of them the result says why, by row and source."""
        import numpy as np

        directory = self.directory / encoder_key(encoder)
        in_use = DirectoryInUse(directory)
        made: list[_Shard] = []  # in the order of the records
        texts = bytearray()
        refusals: list[str] = []
        done = 0
        for chunk, shard in _map_in_order(
            _chunks(records), partial(_read_or_write_shard, directory, encoder), workers or _cores()
        ):
            if len(refusals) < REFUSALS_NAMED:
                refusals += islice(_refusals(chunk, shard, encoder), REFUSALS_NAMED - len(refusals))
            made.append(shard)
            texts += bytes(record.is_text for record in chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        empty = np.zeros(0, np.int64)
        lengths = np.concatenate([empty, *(shard.lengths for shard in made)])
        trained = np.concatenate([empty, *(shard.trained for shard in made)])
        layouts = [shard.layout for shard in made]
        return EncodedDataset(layouts, lengths, trained, np.frombuffer(texts, np.bool_), in_use, refusals)

    def encode_part(
        self, records: Iterable[Record], encoder: Encoder, number: int, of: int, progress: EncodingProgress
    ) -> int:
        """Make every `of`-th shard of `records`, from shard `number` on, for a later `encode`; how many rows these are.
        Several processes, also on several machines that share the directory, do it at the same time."""
        directory = self.directory / encoder_key(encoder)
        in_use = DirectoryInUse(directory)
        done = 0
        for chunk in islice(_chunks(records), number, None, of):
            _read_or_write_shard(directory, encoder, chunk)
            done += len(chunk)
            progress(done, None)
        del in_use
        return done

    def entries(self) -> list[CacheEntry]:
        """What the cache holds, the last used first."""
        groups: dict[tuple[str, str], list[tuple[dict[str, str], os.stat_result]]] = {}
        for path, stat in self._files():
            metadata = shards.read_metadata(path)
            groups.setdefault((path.parent.name, metadata.get("sources", "")), []).append((metadata, stat))
        found = [_entry(key, sources, members) for (key, sources), members in groups.items()]
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def prune(
        self, older_than_days: float | None = None, keep_bytes: int | None = None, *, dry_run: bool = False
    ) -> int:
        """Delete shards not used for so long, then the least recently used until at most `keep_bytes` are left.

        What another process is using stays. Returns the bytes freed, or with `dry_run` those that would be.
        """
        files = sorted(self._files(), key=lambda file: file[1].st_mtime)
        left = sum(stat.st_size for _, stat in files)
        oldest = time.time() - older_than_days * 86400 if older_than_days is not None else 0.0
        freed = 0
        with contextlib.ExitStack() as locks:
            free: dict[Path, bool] = {}
            for path, stat in files:
                if stat.st_mtime >= oldest and (keep_bytes is None or left <= keep_bytes):
                    continue
                if path.parent not in free:
                    free[path.parent] = locks.enter_context(_exclusive_use(path.parent))
                if free[path.parent]:
                    freed += stat.st_size
                    left -= stat.st_size
                    if not dry_run:
                        path.unlink(missing_ok=True)
            if not dry_run:
                self._sweep()
        return freed

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.directory.glob(f"*/*{shards.SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                yield path, path.stat()

    def _sweep(self) -> None:
        """Delete incomplete shards that a kill left behind, and empty directories."""
        staging.sweep_below(self.directory)
        for lock in self.directory.glob("*/.*.lock"):
            staging.discard_if_dead(lock)
        for directory in self.directory.glob("*"):
            with contextlib.suppress(OSError):
                directory.rmdir()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    characters = 0
    for record in records:
        chunk.append(record)
        characters += sum(len(message.content) + len(message.context) for message in record.messages)
        if len(chunk) >= SHARD_ROWS or characters >= SHARD_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _map_in_order(
    chunks: Iterator[list[Record]], make: Callable[[list[Record]], _Shard], workers: int
) -> Iterator[tuple[list[Record], _Shard]]:
    """Each chunk with its shard, in order. Threads are enough: the tokenizer releases the GIL.

    Shards under way are finished even when the source raises: the next call finds them.
    """
    waiting: deque[tuple[list[Record], Future[_Shard]]] = deque()
    with ThreadPoolExecutor(workers, "tokenize") as pool:
        for chunk in chunks:
            waiting.append((chunk, pool.submit(make, chunk)))
            if len(waiting) > workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


def _read_or_write_shard(directory: Path, encoder: Encoder, chunk: list[Record]) -> _Shard:
    """The shard of `chunk`: the one on disk if it is sound, else a new one."""
    path = directory / (chunk_key(chunk) + shards.SUFFIX)
    found = shards.read(path)
    if found is None:
        with _shard_lock(path):  # another process or thread may be making this very shard
            found = shards.read(path)
            if found is None:
                shards.write(path, _tokenise(encoder, chunk), _metadata(encoder, chunk))
                found = shards.read(path)
    if found is None:
        raise DataError(f"{str(path)!r} could not be written as it should be; is the disk full or failing?")
    shards.mark_used(path)
    return _with_counts(*found)


def _with_counts(layout: ShardLayout, tokens: TokenArrays) -> _Shard:
    import numpy as np

    so_far = np.concatenate([[0], np.cumsum(tokens.trained)])
    return _Shard(layout, np.diff(tokens.offsets), np.diff(so_far[tokens.offsets]))


def _tokenise(encoder: Encoder, chunk: list[Record]) -> TokenArrays:
    parts = [
        encoder.tokens([record.messages for record in chunk[start : start + _BATCH]])
        for start in range(0, len(chunk), _BATCH)
    ]
    return TokenArrays.concatenate(parts)


def _metadata(encoder: Encoder, chunk: list[Record]) -> dict[str, str]:
    sources = dict.fromkeys(record.source for record in chunk)
    tokenizer = encoder.tokenizer
    return {
        "template": encoder.template.name,
        "tokenizer": Path(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__).name,
        "sources": "\n".join(list(sources)[:5]),
    }


def _refusals(chunk: list[Record], shard: _Shard, encoder: Encoder) -> Iterator[str]:
    """Rows without tokens are those that the template could not render; rendering one again gives the error."""
    if shard.lengths.all():
        return
    for record, length in zip(chunk, shard.lengths.tolist(), strict=True):
        if not length:
            try:
                encoder.example(record.messages)
            except CamelidError as error:
                yield f"row {record.id} of {record.source!r}: {error}"


def _entry(key: str, sources: str, members: list[tuple[dict[str, str], os.stat_result]]) -> CacheEntry:
    first = members[0][0]
    return CacheEntry(
        key=key,
        template=first.get("template", "?"),
        tokenizer=first.get("tokenizer", "?"),
        sources=tuple(filter(None, sources.split("\n"))),
        rows=sum(int(metadata.get("rows", 0)) for metadata, _ in members),
        tokens=sum(int(metadata.get("tokens", 0)) for metadata, _ in members),
        bytes=sum(stat.st_size for _, stat in members),
        used=max(stat.st_mtime for _, stat in members),
    )


@contextlib.contextmanager
def _shard_lock(path: Path) -> Iterator[None]:
    """A lock for making one shard, among threads and processes; the system releases it when its holder is killed."""
    lock = path.with_name(f".{path.stem}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def _exclusive_use(directory: Path) -> Iterator[bool]:
    """Whether no process uses the directory; if so, none may begin to until this is over."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)
