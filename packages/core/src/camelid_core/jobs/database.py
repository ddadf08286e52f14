"""One SQLite file that survives power cuts, concurrent writers and being moved or deleted.

Knows SQLite: how to create, check, open and lock the file, and how to explain its errors.
Knows nothing of what the tables hold. A connection lives for one call, so any thread may call.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from camelid_core import staging
from camelid_core.errors import JobError
from camelid_core.file_permissions import make_private_directory
from camelid_core.integrity import fsync_directory

# before 3.51.3 a write-ahead log can corrupt the file when it is reset (sqlite.org, 2026-03-13)
_JOURNAL = "wal" if sqlite3.sqlite_version_info >= (3, 51, 3) else "delete"
_NETWORK = {"nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "afs", "fuse.sshfs", "lustre", "beegfs"}


class TableUnavailable(JobError):
    """The file is locked, unreadable or damaged: no fault of any job."""


class Database:
    """`schema` creates the tables; `version` says which schema this code understands; `migrations` makes of a file of
    an earlier version one of the next."""

    def __init__(
        self, path: Path, schema: str, version: int, migrations: Mapping[int, str], busy_seconds: float = 30.0
    ) -> None:
        self.path = path
        self._version = version
        self._migrations = migrations
        self._busy_seconds = busy_seconds
        with self._translate_errors():
            if not path.exists():
                self._create(schema)
            self._check()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        with self._translate_errors(), closing(self.connect()) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its first moment; an exception undoes it."""
        with self._translate_errors(), closing(self._connect(self.path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def connect(self, busy_seconds: float | None = None) -> sqlite3.Connection:
        """A connection of its own, for whoever looks at the file for long; it waits so long for a lock."""
        return self._connect(self.path, busy_seconds)

    def _connect(self, path: Path, busy_seconds: float | None = None) -> sqlite3.Connection:
        # mode=rw: a file that was deleted under us must not come back empty
        address = f"file:{quote(str(path))}?mode=rw"
        wait = self._busy_seconds if busy_seconds is None else busy_seconds
        connection = sqlite3.connect(address, uri=True, timeout=wait, isolation_level=None)
        connection.row_factory = sqlite3.Row
        # EXTRA, not FULL: the deletion of the journal commits, and FULL does not sync it. After a power cut the journal
        # would be back, and undo what was acknowledged.
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA mmap_size=0")
        return connection

    def _create(self, schema: str) -> None:
        """Built in a staging directory and hard-linked into place, so that the file is complete or absent."""
        _refuse_network(self.path.parent)
        make_private_directory(self.path.parent, self.path.parent)
        with staging.directory(self.path) as staged:  # not a file: its lock might be in the way of SQLite's own
            built = staged / self.path.name
            built.touch(0o600)
            with closing(self._connect(built)) as connection:
                connection.execute(f"PRAGMA journal_mode={_JOURNAL}")
                connection.executescript(f"BEGIN; {schema}; PRAGMA user_version={self._version}; COMMIT")
            with suppress(FileExistsError):  # another process was first; its file is as good
                os.link(built, self.path)
            fsync_directory(self.path.parent)

    def _check(self) -> None:
        with closing(self._connect(self.path)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if found != "ok" or version == 0:
                raise TableUnavailable(self._damaged(found if found != "ok" else "it holds no tables"))
            if version > self._version:
                raise TableUnavailable(
                    f"{self.path} was written by a newer Camelid (schema {version}; this one knows {self._version}). "
                    "Upgrade camelid-core, or set CAMELID_HOME to another directory."
                )
            if version < self._version:
                self._migrate(connection)
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != _JOURNAL and os.access(self.path, os.W_OK):
                connection.execute(f"PRAGMA journal_mode={_JOURNAL}")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """In one transaction, which whoever opens the file next waits for: the file has the old schema or the new."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have done it
            for number in range(version, self._version):
                for statement in _statements(self._migrations[number]):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={max(version, self._version)}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise TableUnavailable(self._error_message(error)) from error

    def _error_message(self, error: sqlite3.DatabaseError) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"{self.path} was locked by another process for {self._busy_seconds:g} s; try again."
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged(str(error))
        if code == sqlite3.SQLITE_CANTOPEN:
            return f"{self.path} cannot be opened; it was moved or deleted, or may not be read by this user."
        if code == sqlite3.SQLITE_READONLY:
            return f"{self.path} cannot be written by this user; check its permissions and those of its directory."
        if code == sqlite3.SQLITE_FULL:
            return f"There is no space left for {self.path}; free some and try again."
        return f"{self.path}: {error}."

    def _damaged(self, what: str) -> str:
        return (
            f"{self.path} is damaged ({what}). It is left as it is: restore a copy, "
            "or move it away to start with an empty one."
        )


def _statements(script: str) -> Iterator[str]:
    """Each statement of a script; one that defines a trigger holds others."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


class ChangeMark:
    """While entered, `changed()` says whether the file was written since it was last asked: one read of its header, so
    cheap that it can be asked ten times a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def changed(self) -> bool:
        """True also where that cannot be told, as while somebody writes."""
        before = self._version
        try:
            if self._connection is None:
                self._connection = self._database.connect(busy_seconds=0)
            self._version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.DatabaseError:
            return True
        return self._version != before


def _refuse_network(directory: Path) -> None:
    """SQLite's locks do not hold on network file systems."""
    import psutil  # only where a table is made: an attempt starts sooner without it

    mounts = [
        (len(disk.mountpoint), disk.fstype)
        for disk in psutil.disk_partitions(all=True)
        if directory.resolve().is_relative_to(disk.mountpoint)
    ]
    kind = max(mounts)[1] if mounts else ""
    if kind.lower() in _NETWORK:
        raise TableUnavailable(
            f"{directory} is on a network file system ({kind}); set CAMELID_HOME to a local directory."
        )
