"""`hf:` sources: how a name is written, and what the real `datasets` library reads from a Hub on the loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from camelid_core.datasets.dataset import Dataset, Source
from camelid_core.datasets.hub import HubDatasetName
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.errors import DataError, UsageError
from camelid_core.models.pull import pull
from camelid_core.models.resolved_model import resolve_model
from camelid_core.paths import absolute_if_path
from camelid_core.plugins import load_host
from camelid_core.readers import READERS, Reader, build_record, selection
from camelid_core.records import Message
from camelid_core.registry import Registry
from camelid_core.testing import write_jsonl
from hypothesis import given
from hypothesis import strategies as st

part = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True)
WHERE, COMMIT = "/datasets/org/name", "c0" * 20


@given(part, part, st.one_of(st.just(""), part), st.one_of(st.just(""), part))
def test_a_name_is_taken_apart_and_weighs_what_a_source_weighs(org, name, revision, config):
    text = f"hf:{org}/{name}" + (f"@{revision}" if revision else "") + (f"/{config}" if config else "")
    assert HubDatasetName.parse(text) == HubDatasetName(f"{org}/{name}", revision, config)
    assert Source.parse(f"{text}:0.5") == Source(text, 0.5)


@pytest.mark.parametrize("text", ["hf:", "hf:gsm8k", "hf:a/b/c/d", "hf:../b", "hf:a/b@", "hf:a b/c"])
def test_another_way_of_writing_is_refused_with_the_right_one(text):
    with pytest.raises(UsageError, match="write hf:ORG/NAME"):
        open_dataset(text, Registry("dataset"))


class _Hub(BaseHTTPRequestHandler):
    """What huggingface_hub and `datasets` ask of the Hub for the one repository `org/name` with these files."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path.startswith(f"{WHERE}/resolve/{COMMIT}/"):
            self._file(path.removeprefix(f"{WHERE}/resolve/{COMMIT}/"))
        elif path == f"/api{WHERE}" or path.startswith(f"/api{WHERE}/revision/"):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": "org/name", "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})
        elif path.startswith(f"/api{WHERE}/tree/{COMMIT}"):
            self._json([_entry(name, content) for name, content in self.files.items()])
        elif path.startswith(f"/api{WHERE}/paths-info/"):
            names = parse_qs(asked.decode()).get("paths", [])
            self._json([_entry(name, self.files[name]) for name in names if name in self.files])
        else:
            self._json({"error": "no such repository"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_POST = do_GET

    def _file(self, name):
        if name not in self.files:
            self._json({"error": "no such file"}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        content = self.files[name]
        start, _, stop = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        piece = content[int(start) : int(stop) + 1 if stop else None]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if "Range" in self.headers:
            headers["Content-Range"] = f"bytes {start}-{int(start) + len(piece) - 1}/{len(content)}"
        self._answer(piece, 206 if "Range" in self.headers else 200, headers)

    def _json(self, value, status=200, headers=None):
        self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _answer(self, body, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path, content):
    oid = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


@pytest.fixture
def repository(home, tmp_path, monkeypatch):
    """`repository(rows, file)` puts rows into `org/name` of the Hub that the libraries then ask."""
    import datasets
    import huggingface_hub

    files: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Hub", (_Hub,), {"files": files}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", url)  # and what was made of it when the libraries were imported
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", url)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    huggingface_hub.HfFileSystem.clear_instance_cache()

    def put(rows, file="train.jsonl"):
        if file.endswith(".parquet"):
            import pyarrow
            import pyarrow.parquet

            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
            files[file] = sink.getvalue().to_pybytes()
        else:
            files[file] = "".join(json.dumps(row) + "\n" for row in rows).encode()

    yield put
    server.shutdown()
    server.server_close()
    thread.join()
    huggingface_hub.HfFileSystem.clear_instance_cache()


@pytest.mark.parametrize("file", ["train.jsonl", "train.parquet"])
@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Why?", "input": "", "output": "So."},
        {"prompt": "Why?", "completion": "So."},
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    ],
)
def test_rows_stream_and_are_what_their_columns_say(repository, row, file):
    repository([row] * 5, file)
    dataset = open_dataset("hf:org/name", Registry("dataset"))
    assert dataset.missing() == ""
    found = list(dataset.load("train", 3))
    assert [(record.prompt[-1].content, record.answer, record.id) for record in found] == [
        ("Why?", "So.", str(n)) for n in (1, 2, 3)
    ]
    assert list(dataset.load("heldout", None)) == []


def test_a_plugins_reader_reads_rows_of_the_hub(repository, monkeypatch):
    def record(row, number, read_context):
        turns = (Message("user", row["frage"]), Message("assistant", row["antwort"]))
        return build_record(turns, row, number, read_context)

    german = Reader("german", "A question and its answer in German.", record, (("frage", "antwort"),))
    monkeypatch.setattr(selection, "all_readers", lambda: {**READERS, german.name: german})
    repository([{"frage": "Warum?", "antwort": "Darum."}] * 2)
    found = list(open_dataset("hf:org/name", Registry("dataset")).load("train", None))
    assert [(record.prompt[-1].content, record.answer, record.id, record.source) for record in found] == [
        ("Warum?", "Darum.", number, "hf:org/name") for number in ("1", "2")
    ]


@pytest.fixture
def lures(home):
    """Directories and files in the working directory that are called as what is on the Hub."""
    work = home.parent / "work"
    for lure in ("org/name", "hf:org/name", "hf:/datasets/org/name", "datasets/org/name"):
        (work / lure).mkdir(parents=True)
        write_jsonl(work / lure / "train.jsonl", [{"instruction": "of here", "output": "no"}])
    for lure in ("hf:org/name@main", "hf:org/name+hf:org/name"):
        (work / lure).parent.mkdir(exist_ok=True)
        write_jsonl(work / lure, [{"instruction": "of here", "output": "no"}])


@pytest.mark.parametrize("source", ["hf:org/name", "hf:org/name@main", "hf:org/name+hf:org/name"])
def test_a_name_of_the_hub_never_means_what_is_called_so_here(repository, lures, camelid, source):
    """`datasets` itself takes a directory org/name of the working directory for the repository org/name."""
    repository([{"instruction": "of the Hub", "output": "yes"}])
    assert absolute_if_path(source) == source
    for part in parse_sources([source], load_host().datasets):
        found = open_dataset(part.name, load_host().datasets).load("train", None)
        assert [record.prompt[-1].content for record in found] == ["of the Hub"]
    if "+" not in source:
        done = camelid("datasets", "convert", source, "--out", "out.jsonl")
        assert done.code == 0, done.err
        assert json.loads(Path("out.jsonl").read_text())["instruction"] == "of the Hub"


def test_no_plugin_and_nobody_who_adds_a_set_can_take_a_name_of_the_hub(home):
    registry = Registry("dataset")
    registry.add(Dataset("hf:org/name", "", "cc0-1.0", (), 1, lambda split, limit: iter(())), "somebody")
    assert open_dataset("hf:org/name", registry).url == "https://huggingface.co/datasets/org/name"


@pytest.mark.parametrize("ask", [resolve_model, lambda name, host: pull(name, host, print)], ids=["resolve", "pull"])
def test_a_model_is_not_named_as_data_are(lures, ask):
    with pytest.raises(UsageError, match="has no 'hf:' before it: 'org/name'"):
        ask("hf:org/name", load_host())


def test_a_hub_out_of_reach_is_a_sentence_at_once(lures, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"cannot be reached from here\..* dataset org/name`\), copy"):
        list(open_dataset("hf:org/name@v1", Registry("dataset")).load("train", 1))


def test_what_cannot_be_read_is_a_sentence(repository):
    repository([{"a": 1}])
    with pytest.raises(DataError, match=r"hf:org/name, row 1: no known format"):
        list(open_dataset("hf:org/name", Registry("dataset")).load("train", None))
