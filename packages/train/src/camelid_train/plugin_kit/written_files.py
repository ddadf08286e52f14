"""The rules of what a plugin writes: no file that runs code when it is read. Knows suffixes; knows no format."""

from __future__ import annotations

from pathlib import Path

_RUNS_CODE = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth", ".py")


def assert_files(name: str, directory: Path) -> list[Path]:
    """The files below `directory`, once they keep the rules."""
    written = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    assert written, f"{name}: it writes no files"
    unsafe = [path.name for path in written if path.suffix in _RUNS_CODE]
    assert not unsafe, f"{name}: it writes {unsafe}; such files run code when they are loaded. Write safetensors"
    return written
