"""Texts by themselves in a run: continued pre-training, alone or beside conversations, and said to be so."""

from __future__ import annotations

import json
import statistics

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import write_jsonl
from camelid_core.tokenization.encoder import IGNORE
from camelid_train.planning.plan import plan
from camelid_train.run import train
from camelid_train.run_preparation import prepare_run

STORY = "Tom has 3 boxes with 4 pens each. How many pens are left? "


@pytest.fixture
def texts(tmp_path):
    rows = [{"text": f"{STORY * (number % 5 + 1)}{number}", "url": "https://a.b"} for number in range(40)]
    return write_jsonl(tmp_path / "texts.jsonl", rows)


def sources(*paths):
    return f"data.sources={json.dumps([str(path) for path in paths])}"


def test_a_model_learns_from_texts_and_says_how(attempt, recipe, texts):
    """Every token but the first of a piece is predicted."""
    run = attempt()
    metrics = train(recipe(sources(texts), "train.max_steps=30", "data.cutoff=32", "eval.samples=2"), run)
    assert statistics.mean(run.losses[-5:]) < statistics.mean(run.losses[:5]) - 0.25
    assert metrics["eval_loss"] < metrics["base_eval_loss"]
    (data,) = run.events("data")
    assert data["rows"] == data["kept"] == 36
    assert data["trained_tokens"] == data["total_tokens"]
    assert (data["truncated"], data["dropped"]) == (0, 0)
    said = "\n".join(event["text"] for event in run.events("log"))
    assert "36 rows are texts without turns: every token is learnt, and 'chatml' (data.template) takes no part." in said
    assert "Texts of more than 32 tokens (data.cutoff) were divided: " in said
    assert "Columns that are not used: 'url' in" in said
    assert "there are no sample answers" in said
    assert not run.events("sample")
    assert run.manifest["datasets"][0]["rows"] == 36


def test_the_examples_are_the_texts_in_pieces(recipe, texts, home):
    ready = prepare_run(recipe(sources(texts), "data.cutoff=24", "data.eval_rows=0"), load_host())
    tokenizer, eos = ready.encoder.tokenizer, ready.encoder.tokenizer.eos_token_id
    rows = [json.loads(line)["text"] for line in texts.read_text().splitlines()]
    wanted = [token for text in rows for token in [*tokenizer(text)["input_ids"], eos]]
    assert [token for example in ready.data.train for token in example.input_ids] == wanted
    assert all(example.labels == example.input_ids for example in ready.data.train)
    assert max(len(example.input_ids) for example in ready.data.train) == 24
    last = len(ready.data.train) - 1
    assert ready.data.origin(last).messages[0].content == rows[-1]


def test_the_plan_counts_pieces_as_examples_and_rows_as_rows(recipe, texts, sums, home):
    found = plan(recipe(sources(texts, sums), "data.cutoff=64", "data.eval_rows=0"))
    assert (found["rows"], found["kept"]) == (80, 80)
    assert found["passes"] < found["steps"] * 8 / 80, "an example is a piece"
    assert any(note.startswith("40 rows are texts without turns") for note in found["notes"])
    without = plan(recipe(sources(sums), "data.eval_rows=0"))
    assert not any("texts" in note for note in without["notes"])


def test_texts_and_conversations_stand_in_one_batch(attempt, recipe, texts, sums, home):
    ready = prepare_run(recipe(sources(texts, sums), "data.eval_rows=0"), load_host())
    masked = [IGNORE in example.labels for example in ready.data.train]
    assert masked.count(True) == 40
    assert masked.count(False) == 40
    run = attempt()
    assert train(recipe(sources(texts, sums), "train.max_steps=4"), run)["steps"] == 4


def test_no_batch_is_without_a_token_to_predict(attempt, recipe, tmp_path):
    """Empty texts are left out and said so; a text of one token more than a piece has ends in a piece of two."""
    from camelid_core.testing import tiny_tokenizer

    text = "Z" * 15
    assert len(tiny_tokenizer()(text)["input_ids"]) == 15
    path = write_jsonl(tmp_path / "wiki.jsonl", [{"text": row} for row in ["", " ", text + "Z", text, ""] * 2])
    run = attempt()
    settings = ("data.cutoff=16", "data.eval_rows=0", "train.batch_size=1", "train.max_steps=7")
    metrics = train(recipe(sources(path), *settings), run)
    assert metrics["steps"] == 7
    assert "6 empty texts were left out." in [event["text"] for event in run.events("log")]
    (data,) = run.events("data")
    assert (data["rows"], data["kept"], data["dropped"]) == (4, 4, 0)


def test_long_texts_are_left_out_where_that_was_asked_for(recipe, texts, home):
    settings = ("data.cutoff=70", "data.eval_rows=0", 'data.too_long="skip"')
    found = plan(recipe(sources(texts), *settings))
    assert found["left out"] == 40 - found["kept"] > 0
    assert not any("divided" in note for note in found["notes"])
