"""`camelid templates`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model, tiny_tokenizer


@pytest.fixture
def conversation(home):
    path = Path("conversation.json")
    turns = [{"role": "user", "content": "Hi", "context": "c"}, {"role": "assistant", "content": "Hello"}]
    path.write_text(json.dumps(turns))
    return path


def test_list_says_who_gives_each(camelid):
    rows = camelid("templates", "list", "--json").json
    assert ("alpaca", "camelid-core") in [(row["template"], row["plugin"]) for row in rows]
    table = camelid("templates", "list").out
    assert all(row["template"] in table and row["help"] in table for row in rows)


def test_show_gives_the_exact_text_and_the_jinja(camelid):
    ran = camelid("templates", "show", "alpaca")
    assert "### Input:\n2 and 3\n\n### Response: 5 </s>" in ran.out
    assert "{%- generation %}" in ran.out


def test_show_of_an_unknown_one_suggests_the_nearest(camelid):
    ran = camelid("templates", "show", "alpacca")
    assert ran.code == 2
    assert "Did you mean 'alpaca'? `camelid templates list` shows all" in ran.err


def test_render_prints_the_text_and_not_a_byte_more(camelid, conversation):
    assert camelid("templates", "render", "chatml", conversation).out == (
        "<|im_start|>user\nHi\nc<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    )


def test_render_of_a_prompt(camelid, conversation):
    conversation.write_text('[{"role": "user", "content": "Hi"}]')
    ran = camelid("templates", "render", "tulu", conversation, "--generation-prompt")
    assert ran.out == "<|user|>\nHi\n<|assistant|>\n"


def test_render_of_tokens_shows_what_is_trained(camelid, conversation, tmp_path):
    model = tiny_model(tmp_path / "tiny")
    ran = camelid("templates", "render", "chatml", conversation, "--tokens", model)
    lines = [line.split() for line in ran.out.splitlines()]
    assert {line[1] for line in lines} == {"trained", "ignored"}
    assert lines[-1][1:] == ["trained", "'<|im_end|>'"]
    conversation.write_text('[{"role": "user", "content": "Hi"}]')
    ran = camelid("templates", "render", "chatml", conversation, "--tokens", model, "--generation-prompt")
    assert "trained" not in ran.out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "must hold a JSON list of messages"),
        ('[{"role": "robot", "content": ""}]', "conversation.json, message 1: expected an object with 'role'"),
        ('[{"role": "assistant", "content": ""}]', "template 'vicuna': turn 1 is from 'assistant'"),
    ],
)
def test_render_of_what_is_no_conversation(camelid, conversation, content, sentence):
    conversation.write_text(content)
    ran = camelid("templates", "render", "vicuna", conversation)
    assert ran.code == 1
    assert sentence in ran.err


OWN = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '<|im_end|>' }}{% endfor %}"


@pytest.fixture
def model(home, tmp_path):
    """A tokenizer that brings its own template, where a model would be."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = OWN
    tokenizer.save_pretrained(tmp_path / "own")
    (tmp_path / "own/config.json").write_text('{"model_type": "llama"}')
    return tmp_path / "own"


def test_check_runs_the_contract(camelid, model, monkeypatch):
    for arguments in (["alpaca"], ["alpaca", model], ["own", model]):
        ran = camelid("templates", "check", *arguments)
        assert (ran.code, "keeps the contract with" in ran.out) == (0, True)

    def broken(*_):
        raise AssertionError("alpaca: no")

    monkeypatch.setattr("camelid_core.testing.assert_template_contract", broken)
    ran = camelid("templates", "check", "alpaca", model)
    assert (ran.code, "breaks the contract: alpaca: no" in ran.err) == (1, True)


def test_check_of_all(camelid, model):
    count = len(load_host().templates)
    assert f"{count - 1} templates keep the contract with a small" in camelid("templates", "check", "--all").out
    assert f"{count} templates keep the contract with the tok" in camelid("templates", "check", "--all", model).out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [([], "name a template, or all of them"), (["--all", "alpaca", "x"], "--all takes no template, only a model")],
)
def test_check_of_nothing_or_of_too_much(camelid, arguments, sentence):
    ran = camelid("templates", "check", *arguments)
    assert (ran.code, sentence in ran.err) == (2, True)


def test_a_models_own_is_shown_and_rendered_with_the_model(camelid, conversation, model):
    assert "user: Add the numbers.\n2 and 3<|im_end|>assistant: 5<|im_end|>" in (
        camelid("templates", "show", "own", "--model", model).out
    )
    assert "'<|im_end|>'" in camelid("templates", "render", "own", conversation, "--tokens", model).out
    for arguments in (["show", "own"], ["render", "own", conversation]):
        ran = camelid("templates", *arguments)
        assert (ran.code, "is a model's own: say which model" in ran.err) == (1, True)
