"""An artefact is a directory whose manifest, written last, holds for every file in it."""

from __future__ import annotations

import json
import pickle
import struct

import pytest
from camelid_core import artefacts
from camelid_core.artefacts import (
    MANIFEST,
    Manifest,
    is_artefact,
    package_versions,
    read_artefact,
    verify_directory,
    write_manifest,
)
from camelid_core.errors import ArtefactError, UnsafeFormat
from hypothesis import given
from hypothesis import strategies as st

TENSOR = bytes(range(64))


def safetensors(data: bytes = TENSOR) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [len(data) // 4], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "artefact"
    (path / "nested").mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(safetensors())
    (path / "nested" / "notes.txt").write_text("notes")
    write_manifest(path, Manifest(kind="adapter"))
    return path


def test_a_sound_artefact_verifies_and_lists_every_file(directory):
    artefact = verify_directory(directory)
    assert set(artefact.manifest.files) == {"adapter_model.safetensors", "nested/notes.txt"}
    assert artefact.manifest.files["nested/notes.txt"].size == 5
    assert artefact == read_artefact(directory)
    assert is_artefact(directory)


def test_the_manifest_is_written_last_and_whole(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text("x")
    seen = []

    def write(path, data):
        seen.append((path.name, json.loads(data)["files"].keys(), sorted(file.name for file in path.parent.iterdir())))

    monkeypatch.setattr(artefacts, "write_durably", write)
    write_manifest(tmp_path, Manifest(kind="model"))
    assert seen == [(MANIFEST, {"x.txt": 0}.keys(), ["x.txt"])]


def weights(directory):
    return directory / "adapter_model.safetensors"


def flip(directory):
    data = bytearray(weights(directory).read_bytes())
    data[-5] ^= 1
    weights(directory).write_bytes(data)


def zeros(directory):
    weights(directory).write_bytes(safetensors(bytes(len(TENSOR))))


def cut(directory):
    weights(directory).write_bytes(weights(directory).read_bytes()[:-1])


def extra(directory):
    weights(directory).write_bytes(weights(directory).read_bytes() + b"\0")


def emptied(directory):
    weights(directory).write_bytes(b"")


def swapped(directory):
    weights(directory).write_bytes((directory / "nested" / "notes.txt").read_bytes())


@pytest.mark.parametrize("damage", [flip, zeros, cut, extra, emptied, swapped])
def test_a_file_that_is_not_the_one_written_is_named(directory, damage):
    damage(directory)
    with pytest.raises(ArtefactError, match=r"'adapter_model\.safetensors' in .* is not the file that was written"):
        verify_directory(directory)


@given(st.data())
def test_no_single_changed_byte_goes_unnoticed(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("artefact")
    weights(path).write_bytes(safetensors())
    write_manifest(path, Manifest(kind="adapter"))
    content = bytearray(weights(path).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    weights(path).write_bytes(content)
    with pytest.raises(ArtefactError):
        verify_directory(path)


def test_a_missing_file_is_named(directory):
    (directory / "nested" / "notes.txt").unlink()
    with pytest.raises(ArtefactError, match=r"lacks 'nested/notes\.txt', which its manifest lists"):
        verify_directory(directory)


def rewrite(directory, **values):
    path = directory / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_manifest_that_names_a_file_outside_is_refused(directory, name):
    (directory.parent / "secret").write_text("x")
    rewrite(directory, files={name: {"size": 1, "sha256": ""}})
    with pytest.raises(ArtefactError, match="names a file outside the directory"):
        verify_directory(directory)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "x.pt", "X.PTH", "nested/a.pkl", "optimizer.ckpt"])
def test_a_pickle_is_refused_by_name_on_writing_and_on_reading(directory, name):
    (directory / name).write_bytes(b"")
    with pytest.raises(UnsafeFormat, match=r"can run code when loaded \(a pickle\)"):
        verify_directory(directory)
    with pytest.raises(UnsafeFormat):
        write_manifest(directory, Manifest(kind="adapter"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["innocent.txt", "more.safetensors"])
def test_a_pickle_is_refused_by_content(directory, protocol, name):
    (directory / name).write_bytes(pickle.dumps({"a": [1]}, protocol))
    with pytest.raises(UnsafeFormat):
        verify_directory(directory)


DAMAGED = {
    "empty": (b"", "cannot be read"),
    "cut": (b'{"kind": "adap', "cannot be read"),
    "no utf-8": (b"\xff", "cannot be read"),
    "deep": (b"[" * 200_000, "cannot be read"),
    "a list": (b"[]", "is damaged at ''"),
    "no kind": (b"{}", "is damaged at 'kind'"),
    "unknown kind": (b'{"kind": "potato"}', "is damaged at 'kind'"),
    "unknown key": (b'{"kind": "adapter", "surprise": 1}', "is damaged at 'surprise'"),
    "schema is text": (b'{"kind": "adapter", "schema_version": "two"}', "is damaged at 'schema_version'"),
    "newer": (
        b'{"kind": "hologram", "schema_version": 2, "more": 1}',
        r"written by a newer Camelid \(schema 2\); upgrade",
    ),
}


@pytest.mark.parametrize(("content", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_or_newer_manifest_is_a_sentence(directory, content, sentence):
    (directory / MANIFEST).write_bytes(content)
    with pytest.raises(ArtefactError, match=sentence):
        read_artefact(directory)


def test_a_directory_without_manifest_is_no_artefact(tmp_path):
    assert not is_artefact(tmp_path)
    with pytest.raises(ArtefactError, match=r"is no artefact: it has no camelid\.json"):
        read_artefact(tmp_path)


def test_versions_of_what_made_it_are_recorded(directory):
    packages = read_artefact(directory).manifest.packages
    assert packages == package_versions()
    assert {"camelid-core", "torch", "transformers"} <= set(packages)
