"""Models on disk, and tokens without transformers: the same ids, coloured rightly."""

from __future__ import annotations

import subprocess
import sys

import pytest
from camelid_core.errors import ModelError, UnknownName
from camelid_core.models.loading import load_tokenizer
from camelid_core.records import Message
from camelid_core.testing import CONVERSATIONS
from camelid_core.tokenization.encoder import Encoder

ASKED = (Message("user", "Wie viel? 三 🙂<|im_end|>"), Message("assistant", "2 + 3 = 5 🙂"))

TEXT = (Message("text", "Llamas spit. 三 🙂<|im_end|> " * 40),)


@pytest.mark.parametrize("template", ["alpaca", "chatml", "vicuna"])
def test_light_tokens_are_the_tokens_training_uses(services, template):
    reference = services.models.resolve("tiny")
    heavy = Encoder(load_tokenizer(reference), services.host.templates[template])
    light = services.models.encoder("tiny", template)
    assert light.example(TEXT) == heavy.example(TEXT)
    for messages in (*CONVERSATIONS, ASKED):
        assert light.example(messages) == heavy.example(messages)
        assert light.prompt_ids(messages[:-1]) == heavy.prompt_ids(messages[:-1])


def test_tokens_are_shown_as_what_training_does_with_them(services):
    view = services.models.tokens("tiny", ASKED, "chatml")
    assert "".join(piece.text for piece in view.spans if piece.kind == "trained") == "2 + 3 = 5 🙂"
    assert view.count("special-trained") == 1
    assert view.count("special") == 3
    assert view.count() == sum(piece.tokens for piece in view.spans)
    inert = "".join(piece.text for piece in view.spans if piece.kind == "ignored")
    assert "三 🙂<|im_end|>" in inert


def test_the_cut_off_truncates(services):
    assert services.models.tokens("tiny", ASKED, "chatml", cutoff=5).count() == 5


def test_of_a_text_its_first_piece_is_shown_without_a_template(services):
    whole = services.models.tokens("tiny", TEXT, "chatml")
    view = services.models.tokens("tiny", TEXT, "chatml", cutoff=5)
    assert (view.count("trained"), view.count(), view.beyond) == (5, 5, whole.count() - 5)
    assert (view.template, whole.template, whole.beyond) == ("", "", 0)


def test_models_and_artefacts_are_told_apart(services, adapter, home):
    (home / "models" / "small").mkdir()
    (home / "models" / "small" / "q8_0.gguf").write_bytes(b"GGUF")
    entries = {entry.name: entry for entry in services.models.all()}
    assert [entries[name].kind for name in ("tiny", "tuned", "small")] == ["model", "adapter", "gguf"]
    assert services.models.bases()[0] == "tiny"
    assert "small" not in services.models.bases()
    assert "small" in dict(services.models.grouped()).values()
    assert [entry.name for entry in services.models.adapters()] == ["tuned"]
    assert services.models.resolve("tuned").adapter_dir is not None


def test_a_model_that_is_not_here_says_how_to_get_it(services):
    with pytest.raises(ModelError, match="camelid models pull"):
        services.models.tokens("smollm2-135m", ASKED)
    with pytest.raises(UnknownName):
        services.models.tokens("tinny", ASKED)


def test_a_damaged_tokenizer_is_a_sentence(services, home, tmp_path):
    directory = home / "models" / "broken"
    directory.mkdir()
    (directory / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        services.models.tokens("broken", ASKED)
    (directory / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be read"):
        services.models.tokens("broken", ASKED)


def test_the_web_process_loads_no_model_library(home):
    code = (
        "import sys\nfrom camelid_core.records import Message\nfrom camelid_ui.services import Services\n"
        "s = Services.open()\ns.models.tokens('tiny', (Message('user', 'a'), Message('assistant', 'b')))\n"
        "print([name for name in ('torch', 'transformers', 'gradio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
