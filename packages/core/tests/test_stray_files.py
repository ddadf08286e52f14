"""A model's directory with what does not belong there: nothing waits, nothing is read without end or carried along."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from camelid_core.errors import ModelError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host

READ = ("config.json", "tokenizer_config.json", "chat_template.jinja", "model.safetensors", "camelid.json")
STRAYS = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "circle": lambda path: path.symlink_to(path.name),
}


@pytest.fixture
def model(home, tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama"}')
    return directory


def resolve(name: object):
    return resolve_model(str(name), load_host())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("make", STRAYS.values(), ids=STRAYS)
def test_a_pipe_a_device_and_a_circle_are_named_and_not_opened(model, name, make):
    (model / name).unlink(missing_ok=True)
    make(model / name)
    with pytest.raises(ModelError, match=rf"{name}' (is no file|cannot be read: Too many levels)"):
        resolve(model)


def test_weights_that_are_gone_are_named(model, tmp_path):
    (model / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(ModelError, match=r"model\.safetensors' is a link to nothing"):
        resolve(model)


def test_a_directory_is_no_weights(model):
    (model / "model.safetensors").mkdir()
    with pytest.raises(ModelError, match=r"model\.safetensors' is no file, but a directory"):
        resolve(model)


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json", "additional_chat_templates"])
def test_a_text_from_elsewhere_is_no_part_of_a_model(model, tmp_path, name):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.json").write_text('{"key": "a"}')
    (model / name).symlink_to(secret if name.startswith("additional") else secret / "key.json")
    with pytest.raises(ModelError, match=rf"{name}' is a link out of its directory, to '{secret}"):
        resolve(model)


def test_a_pipe_beside_a_gguf_file_is_not_opened(home, tmp_path):
    from camelid_core.models.stray_files import refuse_stray_files

    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    os.mkfifo(tmp_path / "tokenizer_config.json")
    os.mkfifo(tmp_path / "somebody-else.json")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json' is no file"):
        refuse_stray_files(tmp_path / "model.gguf")


def test_weights_may_lie_elsewhere_and_a_link_to_nothing_is_no_file(model, tmp_path):
    (tmp_path / "large.safetensors").write_bytes(b"")
    (model / "model.safetensors").symlink_to(tmp_path / "large.safetensors")
    (model / "generation_config.json").symlink_to(tmp_path / "gone.json")
    (model / "named.json").symlink_to("config.json")
    (model / "onnx").symlink_to(tmp_path)
    assert resolve(model).base == model


def test_a_snapshot_of_the_hubs_cache_has_its_files_among_the_blobs(model, tmp_path):
    kept = tmp_path / "hub" / "models--a--b"
    snapshot = kept / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (kept / "blobs").mkdir()
    for number, name in enumerate(("config.json", "chat_template.jinja", "tokenizer_config.json")):
        shutil.copy(model / "config.json", kept / "blobs" / str(number))
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    assert resolve(snapshot).base == snapshot
    (snapshot / "added_tokens.json").symlink_to("../../../secret.json")
    (tmp_path / "hub" / "secret.json").write_text(json.dumps({"key": "a"}))
    with pytest.raises(ModelError, match="is a link out of its directory"):
        resolve(snapshot)
