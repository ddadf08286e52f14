"""File integrity: which formats may be loaded, and whether files are what they claim to be."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import time
import zipfile

import pytest
import torch
from camelid_core import integrity
from camelid_core.errors import ArtefactError, ModelError, UnsafeFormat
from camelid_core.integrity import fingerprint, refuse_pickles, safetensors_header, sha256, write_durably
from camelid_core.models.gguf import gguf_metadata
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file


def test_the_header_tells_names_types_and_shapes(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, path, {"format": "pt"})
    header = safetensors_header(path)
    assert header["a"]["shape"] == [2, 3]
    assert header["b"]["dtype"] == "BF16"


def test_a_file_without_tensors_is_sound(tmp_path):
    save_file({}, tmp_path / "x.safetensors")
    assert safetensors_header(tmp_path / "x.safetensors") == {}


def entry(*offsets: object) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}).encode()


HEADERS = {
    "empty file": b"",
    "three bytes": b"abc",
    "2^40": struct.pack("<Q", 2**40) + b"{}",
    "2^63": struct.pack("<Q", 2**63) + b"{}",
    "one byte too long": struct.pack("<Q", 3) + b"{}",
    "no json": struct.pack("<Q", 4) + b"nope",
    "no utf-8": struct.pack("<Q", 2) + b"\xff\xff",
    "a list": struct.pack("<Q", 2) + b"[]",
    "deep": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "no offsets": struct.pack("<Q", 10) + b'{"a":  {}}',
    "one offset": struct.pack("<Q", len(entry(0))) + entry(0),
    "offset is text": struct.pack("<Q", len(entry(0, "x"))) + entry(0, "x"),
    "offset is nothing": struct.pack("<Q", len(entry(0, None))) + entry(0, None),
    "cut short": struct.pack("<Q", len(entry(0, 4))) + entry(0, 4) + b"\0\0\0",
    "bytes behind": struct.pack("<Q", len(entry(0, 4))) + entry(0, 4) + b"\0" * 5,
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_a_header_that_does_not_fit_its_file_is_refused_at_once(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    began = time.process_time()
    with pytest.raises(ArtefactError, match=r"'x\.safetensors' (is no safetensors file|has .* it is damaged)"):
        safetensors_header(path)
    assert time.process_time() - began < 2


def test_a_hundred_thousand_tensors_are_read_in_time(tmp_path):
    header = {f"layer.{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_000)}
    raw = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)
    began = time.process_time()
    assert len(safetensors_header(tmp_path / "x.safetensors")) == 100_000
    assert time.process_time() - began < 2


TENSOR = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'


def tensors(count: int) -> bytes:
    return b"{" + b",".join(TENSOR % number for number in range(count)) + b"}"


SHAPE = b'{"a":{"dtype":"F32","data_offsets":[0,0],"shape":[%s0]}}'
TEXT = b"\x01" + bytes(7) + b"a"
WORD = b"\x08\0\0\0" + TEXT
LIST, TEXTS, LISTS = b"\x09\0\0\0", b"\x08\0\0\0", b"\x09\0\0\0"


def gguf(tensors: int = 0, entries: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + rest


LARGE = {
    "tensors": ("x.safetensors", lambda: tensors(1_400_000), r"\d+ bytes of header, and 25,000,000 are the most"),
    "tensors, close": ("x.safetensors", lambda: tensors(400_000), "400,000 tensors, and 200,000 are the most"),
    "a shape": (
        "x.safetensors",
        lambda: SHAPE % (b"0," * 10_000_000),
        "values in its header, and 1,600,000 are the most",
    ),
    "dimensions": ("x.safetensors", lambda: SHAPE % (b"0," * 16), "header cannot be read"),
    "a name": ("x.safetensors", lambda: b'{"%s' % (b"x" * 1000) + tensors(1)[2:], "header cannot be read"),
    "a number": ("x.safetensors", lambda: SHAPE % b"9223372036854775808,", "header cannot be read"),
    "gguf, tensors": (
        "x.gguf",
        lambda: gguf(1_400_000, rest=(TEXT + struct.pack("<IIQ", 0, 0, 0)) * 1_400_000),
        "claims 1,400,000 tensors, and 200,000 are the most",
    ),
    "gguf, entries": ("x.gguf", lambda: gguf(0, 1_400_000, (TEXT + WORD) * 1_400_000), "10,000 are the most"),
    "gguf, words": (
        "x.gguf",
        lambda: gguf(0, 1, TEXT + LIST + TEXTS + struct.pack("<Q", 3_000_000) + TEXT * 3_000_000),
        "claims 3,000,000 values in one list",
    ),
    "gguf, lists": (
        "x.gguf",
        lambda: gguf(0, 9, (TEXT + LIST + TEXTS + struct.pack("<Q", 1_000_000) + bytes(8_000_000)) * 9),
        "claims 4,000,000 texts in lists",
    ),
    "gguf, a list of lists": ("x.gguf", lambda: gguf(0, 1, TEXT + LIST + LISTS + bytes(8)), "arrays of arrays"),
    "gguf, a text": (
        "x.gguf",
        lambda: gguf(0, 1, TEXT + b"\x08\0\0\0" + struct.pack("<Q", 110_000_000) + bytes(110_000_000)),
        "more than 100,000,000 bytes before its weights",
    ),
    "gguf, a name": ("x.gguf", lambda: gguf(0, 1, struct.pack("<Q", 70_000) + bytes(80_000)), "bytes of one name"),
    "gguf, dimensions": ("x.gguf", lambda: gguf(1, 0, TEXT + struct.pack("<I", 9) + bytes(90)), "dimensions of one"),
}
READ = """
import resource, sys
from pathlib import Path
from camelid_core.errors import CamelidError
from camelid_core.models.gguf import gguf_metadata
from camelid_core.integrity import safetensors_header
path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF)
try:
    (safetensors_header if path.suffix == ".safetensors" else gguf_metadata)(path)
except CamelidError as error:
    print(error)
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_maxrss - before.ru_maxrss, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
"""


@pytest.mark.parametrize(("name", "content", "sentence"), LARGE.values(), ids=LARGE)
def test_what_claims_more_than_any_model_is_refused_before_it_takes_memory(tmp_path, name, content, sentence):
    """1.4 million tensors once took a gigabyte, and were accepted."""
    data = content()
    (tmp_path / name).write_bytes(data if name == "x.gguf" else struct.pack("<Q", len(data)) + data)
    read = [sys.executable, "-c", READ, str(tmp_path / name)]
    said, measured = subprocess.run(read, capture_output=True, text=True, check=True).stdout.splitlines()
    (tmp_path / name).unlink()
    kilobytes, seconds = map(float, measured.split())
    assert re.search(sentence, said), said
    assert repr(name) in said or repr(str(tmp_path / name)) in said
    assert kilobytes < 100_000
    assert seconds < 5


def test_a_vocabulary_of_a_million_words_and_its_merges_are_read(tmp_path):
    def text(of: bytes) -> bytes:
        return struct.pack("<Q", len(of)) + of

    words = LIST + TEXTS + struct.pack("<Q", 1_000_000) + text(b"word") * 1_000_000
    architecture = text(b"general.architecture") + TEXTS + text(b"llama")
    both = text(b"tokenizer.ggml.tokens") + words + text(b"tokenizer.ggml.merges") + words
    (tmp_path / "x.gguf").write_bytes(gguf(0, 3, architecture + both))
    began = time.process_time()
    assert gguf_metadata(tmp_path / "x.gguf")["tokenizer.ggml.tokens"] == 1_000_000
    assert time.process_time() - began < 3


@pytest.mark.parametrize("name", ["a.bin", "a.PT", "a.pth", "a.pkl", "a.pickle", "a.ckpt", "a.joblib", "deep/er/a.bin"])
def test_pickles_are_refused_by_name(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(UnsafeFormat, match="Only safetensors weights are taken"):
        refuse_pickles(tmp_path)


def test_a_torch_archive_that_says_it_is_safetensors_is_refused(tmp_path):
    data = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, data)
    (tmp_path / "model.safetensors").write_bytes(data.getvalue())
    with pytest.raises(UnsafeFormat):
        refuse_pickles(tmp_path)


def test_ordinary_files_are_not_taken_for_pickles(tmp_path):
    (tmp_path / "a.txt").write_text("PK is no archive.")
    (tmp_path / "b.txt").write_bytes(b"\x80")
    (tmp_path / "c.txt").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("a", "b")
    refuse_pickles(tmp_path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580, 0x4B50])
def test_no_length_of_a_header_makes_a_sound_file_a_pickle(tmp_path, length):
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode().ljust(length)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length) + header + b".")
    refuse_pickles(tmp_path)
    assert safetensors_header(tmp_path / "x.safetensors")


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama", "transformers_version": "5.0"}')
    (directory / "tokenizer.json").write_text("{}")
    save_file({"w": torch.randn(100, 100)}, directory / "model.safetensors")
    return directory


def other_weights(model):
    save_file({"w": torch.randn(100, 100)}, model / "model.safetensors")


def other_shapes(model):
    save_file({"w": torch.zeros(50, 200)}, model / "model.safetensors")


def other_names(model):
    save_file({"v": torch.zeros(100, 100)}, model / "model.safetensors")


def other_config(model):
    (model / "config.json").write_text('{"model_type": "llama", "rope_theta": 1}')


def other_tokenizer(model):
    (model / "tokenizer.json").write_text('{"a": 1}')


def no_tokenizer(model):
    (model / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    "change", [other_weights, other_shapes, other_names, other_config, other_tokenizer, no_tokenizer]
)
def test_another_base_has_another_fingerprint(model, change):
    before = fingerprint(model)
    change(model)
    assert fingerprint(model) != before


def test_a_copy_and_a_newer_library_leave_the_fingerprint(model):
    before = fingerprint(model)
    (model / "config.json").write_text('{"transformers_version": "9", "_name_or_path": "x", "model_type": "llama"}')
    (model / "README.md").write_text("more")
    model.rename(model.with_name("copy"))
    assert fingerprint(model.with_name("copy")) == before


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_what_holds_no_model_has_no_fingerprint(model, missing):
    (model / missing).unlink()
    with pytest.raises(ModelError, match=r"holds no model: config\.json and \*\.safetensors are needed"):
        fingerprint(model)


@given(st.binary(), st.binary())
def test_a_durable_write_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path_factory, old, new):
    path = tmp_path_factory.mktemp("durable") / "file"
    path.write_bytes(old)
    write_durably(path, new)
    assert path.read_bytes() == new
    assert list(path.parent.iterdir()) == [path]
    assert len(sha256(path)) == 64


def test_a_durable_write_syncs_before_it_renames(tmp_path, monkeypatch):
    steps = []
    real_sync, real_replace = os.fsync, integrity.Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("sync"), real_sync(fd)))
    monkeypatch.setattr(integrity.Path, "replace", lambda self, to: (steps.append("rename"), real_replace(self, to)))
    write_durably(tmp_path / "file", b"x")
    assert steps == ["sync", "rename", "sync"]
