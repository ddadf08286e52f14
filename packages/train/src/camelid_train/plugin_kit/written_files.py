"""The rules of what a plugin writes: no file that runs code when it is read. Knows pickles; knows no format."""

from __future__ import annotations

from pathlib import Path

from camelid_core.errors import UnsafeFormat
from camelid_core.integrity import refuse_pickles


def assert_files(name: str, directory: Path) -> list[Path]:
    """The files below `directory`, once they keep the rules."""
    written = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    assert written, f"{name}: it writes no files"
    code = [path.name for path in written if path.suffix == ".py"]
    assert not code, f"{name}: it writes code, {code[0]!r}; Camelid never runs code that comes with a model"
    try:
        refuse_pickles(directory)
    except UnsafeFormat as error:
        raise AssertionError(f"{name}: what it writes is not safe to read: {error}") from None
    return written
