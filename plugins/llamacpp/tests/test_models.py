"""GGUF files by name: what is read of them, which engine answers, and what is said where it cannot be."""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from camelid_core.errors import MissingPackage, ModelError
from camelid_core.integrity import fingerprint
from camelid_core.models.gguf import gguf_metadata
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import Host, load_host
from camelid_core.records import Message
from camelid_core.testing import CONVERSATIONS
from camelid_core.tokenization.encoder import Encoder
from camelid_llamacpp import c_api
from camelid_serve.commands import serve
from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling
from camelid_serve.engine_process.client import EngineProcess
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel, load_model
from transformers import AutoTokenizer


def test_a_file_says_all_that_is_needed(file: Callable[[str], Path], base: Path) -> None:
    resolved = resolve_model(str(file("f32")), load_host())
    assert (resolved.base, resolved.template, resolved.adapter.name) == (file("f32"), "own", "llama")
    assert resolved.config["max_position_embeddings"] == 512
    ours, theirs = load_tokenizer(resolved), AutoTokenizer.from_pretrained(base)
    template = load_host().templates["own"]
    for messages in CONVERSATIONS:
        assert Encoder(ours, template).prompt_ids(messages[:-1]) == Encoder(theirs, template).prompt_ids(messages[:-1])


def test_ends_and_context_are_the_models(tiny: LoadedModel) -> None:
    special = tiny.encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert special in tiny.stops
    assert tiny.engine.context_length == 512
    assert tiny.vocabulary <= 500


@pytest.mark.parametrize("place", ["alone", "beside a tokenizer", "in models", "first of two parts"])
def test_a_directory_with_one_file_is_that_file(
    file: Callable[[str], Path], base: Path, home: Path, tmp_path: Path, place: str
) -> None:
    directory = home / "models" / "mine" if place == "in models" else tmp_path / "mine"
    directory.mkdir(parents=True)
    part = place == "first of two parts"
    model = Path(shutil.copy(file("f32"), directory / ("m-00001-of-00002.gguf" if part else "m.gguf")))
    if part:
        (directory / "m-00002-of-00002.gguf").write_bytes(b"GGUF")
    if place == "beside a tokenizer":
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(base / name, directory / name)
    resolved = resolve_model("mine" if place == "in models" else str(directory), load_host())
    assert resolved.base == model.resolve()
    assert resolved.template == "own"
    assert load_tokenizer(resolved).chat_template


def test_a_link_may_lead_to_a_file_of_any_name(copied: Path) -> None:
    """The Hub's cache is made of those."""
    blob = copied.rename(copied.with_name("5feceb66"))
    copied.symlink_to(blob)
    assert resolve_model(str(copied), load_host()).base == copied
    assert serve._with_absolute_paths(f"a={copied}") == f"a={copied}"
    assert serve._with_absolute_paths(str(copied)) == f"copy.gguf={copied}"


def test_several_files_must_be_named(copied: Path) -> None:
    shutil.copy(copied, copied.with_name("other.gguf"))
    with pytest.raises(ModelError, match=r"'copy.gguf', 'other.gguf'"):
        resolve_model(str(copied.parent), load_host())
    assert resolve_model(str(copied), load_host()).base == copied
    copied.unlink()
    with pytest.raises(ModelError, match="there is no file"):
        resolve_model(str(copied), load_host())


def test_a_damaged_file_is_an_error_that_names_it(copied: Path) -> None:
    """Cut short or overwritten anywhere in its metadata, it is read, or refused in a sentence."""
    whole = copied.read_bytes()
    numbers = random.Random(0)
    for turn in range(60):
        data = bytearray(whole[:20_000])
        at = numbers.randrange(0, len(data))
        if turn % 2:
            del data[at:]
        else:
            data[at : at + 8] = numbers.randbytes(8)
        copied.write_bytes(data)
        with suppress(ModelError):
            gguf_metadata(copied)
    copied.write_bytes(b"PK" + whole[2:])
    with pytest.raises(ModelError, match="no GGUF file"):
        resolve_model(str(copied), load_host())


def test_no_part_of_a_file_claims_more_than_is_read(copied: Path) -> None:
    first = copied.rename(copied.with_name("m-00001-of-00002.gguf"))
    first.with_name("m-00002-of-00002.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 10**6, 0))
    with pytest.raises(ModelError, match=r"m-00002-of-00002.gguf' is a damaged GGUF file: it claims 1,000,000 tensors"):
        load_model(str(first), load_host(), EngineConfig(slots=1))


def test_weights_that_are_missing_are_said(copied: Path, base: Path) -> None:
    """Here where whole tensors are missing, else by the library."""
    whole = copied.read_bytes()
    copied.write_bytes(whole[:-50_000])
    with pytest.raises(ModelError, match=r"copy.gguf.* damaged .*Copy it again"):
        load_model(str(copied), load_host(), EngineConfig(slots=1))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, copied.with_name(name))
    copied.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match=r"llama.cpp cannot load .*copy.gguf.*: .*bound"):
        load_model(str(copied), load_host(), EngineConfig(template="chatml", slots=1))


def test_the_fingerprint_tells_weights_apart(copied: Path) -> None:
    before = fingerprint(copied)
    data = bytearray(copied.read_bytes())
    data[-5] ^= 1
    copied.write_bytes(data)
    assert fingerprint(copied) != before


def test_it_is_asked_and_nothing_else(file: Callable[[str], Path], base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither trained nor merged"):
        resolve_model(str(file("f32")), load_host(), gguf=False)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(file("f32"))}))
    with pytest.raises(ModelError, match="takes no adapters"):
        resolve_model(str(tmp_path), load_host())
    with pytest.raises(ModelError, match="runs GGUF files"):
        load_model(str(base), load_host(), EngineConfig(engine="llamacpp"))


def test_without_the_plugin_it_is_said_what_to_install(file: Callable[[str], Path]) -> None:
    host = Host()
    host.load(plugin for plugin in load_host().plugins if plugin.name in ("camelid-core", "camelid-serve"))
    with pytest.raises(MissingPackage, match="pip install camelid-llamacpp"):
        load_model(str(file("f32")), host)


def test_without_the_library_it_is_said_what_to_install(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_api, "find_spec", lambda name: None)
    monkeypatch.setattr(c_api, "library", c_api.library.__wrapped__)
    with pytest.raises(MissingPackage, match="pip install xllamacpp=="):
        load_model(str(file("f32")), load_host())


def test_a_library_of_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(c_api._DEFAULTS, "n_ubatch", 513)
    with pytest.raises(MissingPackage, match="n_ubatch"):
        c_api.library.__wrapped__()


def test_a_tokenizer_that_metadata_cannot_tell_is_refused(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def clumsy(resolved: Any) -> Any:
        tokenizer = load_tokenizer(resolved)
        return lambda text, **options: {"input_ids": tokenizer(text, **options)["input_ids"][1:]}

    monkeypatch.setattr("camelid_llamacpp.engine.load_tokenizer", clumsy)
    with pytest.raises(ModelError, match=r"tokenizer.json and tokenizer_config.json beside it"):
        load_model(str(file("f32")), load_host())


@pytest.mark.slow
def test_a_process_of_its_own_holds_it(file: Callable[[str], Path], tiny: LoadedModel) -> None:
    """As for pages and the API: what is said there is what is said here."""
    asked = [Message("user", "2 + 2?")]
    sampling = Sampling(max_new_tokens=6)
    with EngineProcess() as process:
        list(process.load_all({"tiny": str(file("f32"))}, EngineConfig(dtype="float32")))
        there = list(process.chat(asked, sampling))[-1]
    with generate(tiny, [tiny.prompt_ids(asked)], sampling) as answers:
        here = list(answers)[-1]
    assert there.answer == here.answer


def test_the_chat_command_takes_a_file(file: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    from camelid_serve.commands.chat import chat

    chat(str(file("q8_0")), question="2 + 2?", max_new_tokens=5)
    assert "tokens/s" in capsys.readouterr().err
