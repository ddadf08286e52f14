"""A home of its own for every test, and a Hub on the loopback that can break off in the middle of a file."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """No test sees another's files, the person's own, or the network."""
    directory = tmp_path / "home"
    directory.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("CAMELID_HOME", str(directory))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("CAMELID_DATA_MIRROR", "CAMELID_DATA_REVISION", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return directory


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Path:
    """A directory laid out like the Hub repository; `CAMELID_DATA_MIRROR` names it."""
    directory = tmp_path / "mirror"
    directory.mkdir()
    monkeypatch.setenv("CAMELID_DATA_MIRROR", str(directory))
    return directory


@dataclass
class Hub:
    """`commits` of a repository by hash: path → content, and what was asked and answered.

    `cut_after` ends every answer after so many bytes; `budget` is how many there are for all answers together.
    """

    url: str = ""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    budget: int | None = None
    ranges: list[str] = field(default_factory=list)
    served: int = 0
    requests: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], *names: str) -> str:
        sha = hashlib.sha1(json.dumps(sorted(files)).encode() + b"".join(files.values())).hexdigest()
        self.commits[sha] = files
        for name in names or ("main",):
            self.branches[name] = sha
        return sha

    def files(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


def _entry(path: str, content: bytes) -> dict[str, object]:
    entry = {"type": "file", "path": path, "size": len(content)}
    entry["oid"] = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    if path.endswith(".json"):  # large files are kept elsewhere, and known by their SHA-256
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(path)
        if path.startswith("/api/datasets/"):
            self._api(path.removeprefix("/api/datasets/").split("/"), "recursive=true" in self.path.lower())
        else:
            self._file(path.removeprefix("/datasets/").split("/"))

    def _api(self, parts: list[str], recursive: bool) -> None:
        found = self.hub.files(parts[3])
        if found is None:
            self._json({"error": "no such revision"}, 404)
        elif parts[2] == "revision":
            self._json({"id": "/".join(parts[:2]), "sha": found[0], "private": False, "siblings": [], "tags": []})
        else:
            below = _below(found[1], "/".join(parts[4:]), recursive)
            self._json([_entry(name, found[1][name]) for name in below] or {"error": "none"}, 200 if below else 404)

    def _file(self, parts: list[str]) -> None:
        found = self.hub.files(parts[3])
        content = found[1].get("/".join(parts[4:])) if found else None
        if content is None:
            self._json({"error": "no such file"}, 404)
            return
        asked = self.headers.get("Range", "")
        self.hub.ranges.append(asked)
        start, _, stop = asked.removeprefix("bytes=").partition("-")
        body = content[int(start) : int(stop) + 1] if asked else content
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        left = len(body) if self.hub.budget is None else self.hub.budget - self.hub.served
        sent = body[: min(left, len(body) if self.hub.cut_after is None else self.hub.cut_after)]
        self.hub.served += len(sent)  # first: who has read all of it may look at once
        self.wfile.write(sent)
        self.close_connection = True

    def _json(self, value: object, status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _below(files: dict[str, bytes], inside: str, recursive: bool) -> list[str]:
    top = f"{inside}/" if inside else ""
    return [name for name in files if name.startswith(top) and (recursive or "/" not in name.removeprefix(top))]


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    """A real HTTP server that speaks what huggingface_hub asks for: revision, tree and ranges of files."""
    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def alpaca_file():
    """Content of a file of so many rows: one JSON array, as the collection has them."""

    def make(rows: int, word: str = "row", pad: int = 0) -> bytes:
        values = [
            {"instruction": f"{word} {n}?", "input": "", "output": f"answer {n}{' x' * pad}"}
            for n in range(1, rows + 1)
        ]
        return json.dumps(values, ensure_ascii=False).encode()

    return make
