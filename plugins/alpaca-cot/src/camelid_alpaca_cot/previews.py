"""The first rows of a set on the Hub without downloading its files: range requests for as many bytes as needed.

Knows how the beginning of a file is read. Knows nothing of where fetched files go.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from camelid_core import staging
from camelid_core.errors import DataError
from camelid_core.records import Record

from . import hub
from .collection_table import CollectionRow
from .rows import records

_FIRST = 256 << 10


def preview(row: CollectionRow, limit: int) -> Iterator[Record]:
    """At most `limit` records, from one file after the other. Parquet is fetched: its index is at the end."""
    listing = hub.listing(row)
    if row.keep or any(PurePosixPath(file.name).suffix == ".parquet" for file in listing.files):
        yield from islice(records(row, hub.fetch(row)), limit)
        return
    left = limit
    for file in listing.files:
        if left <= 0:
            return
        with staging.scratch("camelid-preview") as directory:
            beginning = directory / PurePosixPath(file.name).name
            found = _grow_until_enough(row, listing, file, beginning, left)
        left -= len(found)
        yield from found


def _grow_until_enough(
    row: CollectionRow, listing: hub.RemoteListing, file: hub.RemoteFile, beginning: Path, limit: int
) -> list[Record]:
    """Download more of the file until the part holds enough rows, or the whole file is here."""
    have, wanted = 0, _FIRST
    while True:
        stop = min(wanted, file.size)
        with beginning.open("ab") as target:
            for chunk in hub.stream(row, listing.commit, file.name, have, stop):
                target.write(chunk)
        have = stop
        found = _complete_records(row, beginning, limit, complete=have == file.size)
        if len(found) >= limit or have == file.size:
            return found
        wanted *= 4


def _complete_records(row: CollectionRow, beginning: Path, limit: int, complete: bool) -> list[Record]:
    """The records before the end of a partial file; a record cut off is a fault only in a complete file."""
    found: list[Record] = []
    try:
        for record in islice(records(row, [beginning]), limit):
            found.append(record)
    except DataError:
        if complete:
            raise
    return found
