"""A disk that loses what was not synced: replays what strace saw a process do up to a moment, and then cuts the power.

Knows files, names and which of both fsync has made safe: an fsync of a file keeps its content, one of a directory the
names in it, and nothing else is promised. A rename happens wholly or not at all, as on every journaling file system.
Knows nothing of what the files hold.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYSCALLS = (
    "openat,close,lseek,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,"
    "mkdirat,rmdir,ftruncate"
)
STRACE = ["strace", "-f", "-qq", "-y", "-xx", "-s", "2000000", "-e", f"trace={SYSCALLS}"]
KEPT = ("nothing", "names", "everything")
"""What of the unsynced survives: nothing; names, and files as long as they were but with zeros in them; all of it."""

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)(?:<.*>)?(?: .*)?$")
_HEX = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(eq=False)
class File:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass(eq=False)
class Directory:
    names: dict[str, File | Directory] = field(default_factory=dict)
    synced: dict[str, File | Directory] = field(default_factory=dict)


@dataclass
class Call:
    name: str
    arguments: list[Any]
    result: int


class LossyDisk:
    """`top` is the directory that is watched; it and what is above are safe."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._root = Directory()
        self._unsynced: list[list[tuple[Directory, str, File | Directory | None]]] = []
        self._at: dict[int, int] = {}

    def apply(self, call: Call) -> bool:
        """Whether that call changed something here."""
        if call.result < 0:
            return False
        return bool(getattr(self, f"_{call.name}", lambda *_: False)(call.result, *call.arguments))

    def cut_power(self, into: Path, kept: str) -> None:
        """Write what is found after the power is back."""
        self._save(self._root, into, kept)

    def _save(self, node: Directory, into: Path, kept: str) -> None:
        into.mkdir(0o700, exist_ok=True)
        for name, child in (node.synced if kept == "nothing" else node.names).items():
            if isinstance(child, Directory):
                self._save(child, into / name, kept)
            elif kept == "everything":
                (into / name).write_bytes(child.data)
            else:
                zeros = bytes(max(0, len(child.data) - len(child.synced))) if kept == "names" else b""
                (into / name).write_bytes(child.synced + zeros)

    # -- system calls: the result, then the arguments

    def _openat(self, result: int, _at: Any, path: str, flags: str, *_: Any) -> bool:
        self._at[result] = 0
        place = self._place(path)
        if place is None or place[1] == "" or "O_DIRECTORY" in flags:
            return False
        parent, name = place
        node = parent.names.get(name)
        if node is None and "O_CREAT" in flags:
            self._change([(parent, name, File())])
            return True
        if isinstance(node, File):
            self._at[result] = len(node.data) if "O_APPEND" in flags else 0
            if "O_TRUNC" in flags and node.data:
                node.data.clear()
                return True
        return False

    def _lseek(self, result: int, file: tuple[int, str], *_: Any) -> bool:
        self._at[file[0]] = result
        return False

    def _write_at(self, file: tuple[int, str], data: bytes, offset: int) -> bool:
        node = self._node(file[1])
        if not isinstance(node, File):
            return False
        node.data.extend(bytes(max(0, offset - len(node.data))))
        node.data[offset : offset + len(data)] = data
        return True

    def _pwrite64(self, result: int, file: tuple[int, str], data: bytes, _count: int, offset: int) -> bool:
        return self._write_at(file, data[:result], offset)

    def _ftruncate(self, _: int, file: tuple[int, str], size: int) -> bool:
        node = self._node(file[1])
        if isinstance(node, File):
            del node.data[size:]
            node.data.extend(bytes(size - len(node.data)))
        return isinstance(node, File)

    def _fsync(self, _: int, file: tuple[int, str]) -> bool:
        node = self._node(file[1])
        if isinstance(node, File):
            node.synced = bytes(node.data)
        elif node is not None:
            self._sync_names(node)
        return node is not None

    _fdatasync = _fsync

    def _mkdir(self, _: int, path: str, *__: Any) -> bool:
        place = self._place(path)
        return bool(place and place[1]) and self._change([(*place, Directory())])  # type: ignore[misc]

    def _unlink(self, _: int, path: str) -> bool:
        place = self._place(path)
        return place is not None and self._change([(*place, None)])

    _rmdir = _unlink

    def _unlinkat(self, _: int, at: tuple[int, str], path: str, *__: Any) -> bool:
        return self._unlink(_, str(Path(at[1]) / path))

    def _link(self, _: int, old: str, new: str) -> bool:
        place = self._place(new)
        return place is not None and self._change([(*place, self._node(old))])

    def _linkat(self, _: int, _at: Any, old: str, _new_at: Any, new: str, *__: Any) -> bool:
        return self._link(_, old, new)

    def _rename(self, _: int, old: str, new: str) -> bool:
        source, target = self._place(old), self._place(new)
        return None not in (source, target) and self._change([(*source, None), (*target, self._node(old))])  # type: ignore[misc]

    def _write(self, result: int, file: tuple[int, str], data: bytes, _count: int) -> bool:
        at = self._at.get(file[0], 0)
        self._at[file[0]] = at + result
        return self._write_at(file, data[:result], at)

    # -- names

    def _change(self, changes: list[tuple[Directory, str, File | Directory | None]]) -> bool:
        _apply(changes, "names")
        self._unsynced.append(changes)
        return True

    def _sync_names(self, directory: Directory) -> None:
        for changes in [each for each in self._unsynced if any(parent is directory for parent, _, _ in each)]:
            _apply(changes, "synced")
            self._unsynced.remove(changes)

    def _place(self, path: str) -> tuple[Directory, str] | None:
        """The directory that holds it and its name there; None outside of what is watched."""
        if not Path(path).is_relative_to(self._top):
            return None
        parts = Path(path).relative_to(self._top).parts
        if not parts:
            return self._root, ""
        node: Any = self._root
        for part in parts[:-1]:
            node = node.names.get(part)
            if not isinstance(node, Directory):
                return None
        return node, parts[-1]

    def _node(self, path: str) -> File | Directory | None:
        place = self._place(path)
        if place is None:
            return None
        return place[0].names.get(place[1]) if place[1] else self._root


def _apply(changes: list[tuple[Directory, str, File | Directory | None]], which: str) -> None:
    for parent, name, node in changes:
        names = getattr(parent, which)
        names.pop(name, None)
        if node is not None:
            names[name] = node


def calls(trace: Path) -> Iterator[Call]:
    """What strace wrote, with texts decoded."""
    for line in _whole_lines(trace):
        found = _CALL.match(line)
        if found:
            yield Call(found[1], [_argument(each, found[1]) for each in _split(found[2])], int(found[3]))


def _whole_lines(trace: Path) -> Iterator[str]:
    """A call of one thread may be written in two pieces, around those of another."""
    begun: dict[str, str] = {}
    for line in trace.read_text(encoding="ascii").splitlines():
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
        elif "resumed>" in line:
            yield begun.pop(thread) + line.partition("resumed>")[2]
        else:
            yield line


def _split(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=False)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters, lexer.quotes = ",", True, "", '"'
    return [each.strip() for each in lexer]


def _argument(text: str, call: str) -> Any:
    if text.startswith('"'):
        data = bytes.fromhex("".join(_HEX.findall(text)))
        return data if call in ("write", "pwrite64") else data.decode()
    described = re.fullmatch(r"(-?\d+|AT_FDCWD)<(.*)>(?:\(deleted\))?", text)
    if described:
        number = -100 if described[1] == "AT_FDCWD" else int(described[1])
        return number, bytes.fromhex("".join(_HEX.findall(described[2]))).decode(errors="replace")
    return int(text) if re.fullmatch(r"-?\d+", text) else text
