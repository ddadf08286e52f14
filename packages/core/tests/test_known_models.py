"""A model is asked in the same template wherever it lies: registered, copied, linked, by path, in the Hub's cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from camelid_core.builtin.families.rotary import SMOLLM2
from camelid_core.models.gguf import gguf_config
from camelid_core.models.known_models import prompt_signature
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.template_choice import template_of
from camelid_core.paths import models_dir
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.testing import tiny_model, tiny_tokenizer
from camelid_core.tokenization.encoder import Encoder

HELLO = [Message("user", "Hello")]
SMOLLM2_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def prompt(name: object) -> list[int]:
    resolved = resolve_model(str(name), load_host())
    return Encoder(load_tokenizer(resolved), template_of(resolved, load_host())).prompt_ids(HELLO)


def copied(registered: Path, place: Path) -> Path:
    return Path(shutil.copytree(registered, place / "mine"))


def linked(registered: Path, place: Path) -> Path:
    (place / "link").symlink_to(registered)
    return place / "link"


def moved_and_linked(registered: Path, place: Path) -> Path:
    """The registered name is a link to where the model lies, and the model is named by that place."""
    shutil.move(registered, place / "moved")
    registered.symlink_to(place / "moved")
    return place / "moved"


def by_path(registered: Path, place: Path) -> Path:
    return registered.absolute()


def in_the_hubs_cache(registered: Path, place: Path) -> Path:
    repository = place / "models--Org--Name"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(registered.iterdir()):
        shutil.copy(path, repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    return snapshot


def in_another_number_format(registered: Path, place: Path) -> Path:
    copy = copied(registered, place)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16", "pad_token_id": 1}))
    return copy


PLACES = (copied, linked, moved_and_linked, by_path, in_the_hubs_cache, in_another_number_format)


@pytest.mark.parametrize("chat_template", [SMOLLM2_TEMPLATE, ""], ids=["with its chat template", "without"])
@pytest.mark.parametrize("place", PLACES)
def test_the_same_model_gets_the_same_ids_wherever_it_lies(home, tmp_path, place, chat_template):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = chat_template or None
    registered = tiny_model(models_dir() / SMOLLM2.name, tokenizer=tokenizer)
    expected = prompt(SMOLLM2.name)
    assert prompt(place(registered, tmp_path)) == expected


def test_other_sizes_or_another_chat_template_are_another_model(home, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = SMOLLM2_TEMPLATE
    registered = tiny_model(models_dir() / SMOLLM2.name, tokenizer=tokenizer)
    for number, (file, old, new) in enumerate(
        [("config.json", '"hidden_size": 64', '"hidden_size": 128'), ("chat_template.jinja", "SmolLM", "Lama")]
    ):
        other = Path(shutil.copytree(registered, tmp_path / str(number)))
        text = (other / file).read_text()
        assert old in text
        (other / file).write_text(text.replace(old, new))
        resolved = resolve_model(str(other), load_host())
        assert (resolved.template, resolved.template_reason) == ("own", "its own chat template")


def test_the_published_model_is_known_where_nothing_was_pulled(home, tmp_path):
    """Its sizes and its chat template, as the Hub has them."""
    sizes = {"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "intermediate_size": 1536}
    assert prompt_signature(sizes, SMOLLM2_TEMPLATE) == SMOLLM2.signature
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "rope_theta": 100000, "torch_dtype": "bfloat16"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": SMOLLM2_TEMPLATE}))
    resolved = resolve_model(str(tmp_path), load_host())
    assert resolved.template == "chatml"
    assert resolved.template_reason == "registered for 'smollm2-135m', whose sizes and chat template it has"
    assert resolved.licence == "unknown"  # it may be a tuned one


def test_its_gguf_file_is_known_too():
    sizes = {"llama.embedding_length": 576, "llama.block_count": 30, "llama.feed_forward_length": 1536}
    config = gguf_config({"general.architecture": "llama", **sizes})
    assert prompt_signature(config, SMOLLM2_TEMPLATE) == SMOLLM2.signature


def test_show_says_why(camelid, tmp_path):
    base = tiny_model(tmp_path / "tiny")
    assert camelid("models", "show", base, "--json").json["why"] == (
        "the default of family 'llama'; it brings no chat template"
    )
