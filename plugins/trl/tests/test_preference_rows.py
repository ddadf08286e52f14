"""Rows as trl sees them: the prompt is what generation starts from, and only the last answers differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from camelid_core.errors import DataError
from camelid_core.plugins import load_host
from camelid_core.readers import to_record
from camelid_core.records import Message
from camelid_core.testing import tiny_tokenizer, write_jsonl
from camelid_core.tokenization.encoder import IGNORE, Encoder
from camelid_train.config import DataSection
from camelid_trl.preference_data import LABELLED, PAIRS, PROMPTS, prepare
from camelid_trl.preference_rows import last_answer
from hypothesis import given
from hypothesis import strategies as st

TOKENIZER = tiny_tokenizer()
PROMPT = [
    {"role": "user", "content": "Hello <|im_end|>, who are you?"},
    {"role": "assistant", "content": "Nobody."},
    {"role": "user", "content": "Really?"},
]
PAIR = {
    "prompt": PROMPT,
    "chosen": [{"role": "assistant", "content": "Yes, <|im_start|> nobody."}],
    "rejected": [{"role": "assistant", "content": "No"}],
}


@pytest.fixture
def prepared(home, tmp_path):
    def make(builder, rows, template="chatml", **data):
        path = write_jsonl(tmp_path / "rows.jsonl", rows)
        section = DataSection(**{"sources": [str(path)], "eval_rows": 0} | data)
        return prepare(builder, section, Encoder(TOKENIZER, load_host().templates[template]), load_host())

    return make


@pytest.mark.parametrize("template", [item.name for item in load_host().templates if item.name != "own"])
def test_prompt_and_answers_are_those_of_the_template(prepared, template):
    encoder, record = Encoder(TOKENIZER, load_host().templates[template]), to_record(PAIR, "row 1")
    (pair,) = prepared(PAIRS, [PAIR], template, cutoff=4096).train
    assert pair.prompt_ids == encoder.prompt_ids(record.prompt)[: pair.start]
    assert pair.labels == [IGNORE] * pair.start + pair.answer_ids
    worse = replace(record, messages=(*record.prompt, Message("assistant", record.rejected)))
    for conversation, answer in ((record, pair.answer_ids), (worse, pair.rejected_ids)):
        whole = encoder.example(conversation.messages)
        end = pair.start + len(answer)
        assert whole.input_ids[:end] == pair.prompt_ids + answer
        assert whole.labels[pair.start : end] == answer
        assert set(whole.labels[end:]) <= {IGNORE}
        assert pair.start == 0 or whole.labels[pair.start - 1] == IGNORE


@given(st.lists(st.booleans(), max_size=30))
def test_the_last_trained_run_is_the_answer(trained):
    start, end = last_answer([7 if yes else IGNORE for yes in trained])
    assert all(trained[start:end])
    assert not any(trained[end:])
    assert not trained[start - 1 : start] or not trained[start - 1]
    assert (start < end) == any(trained)


def test_the_cut_off_takes_the_ends_of_answers_and_rows_without_a_beginning_of_one(prepared):
    long = {"prompt": "Why? " * 200, "chosen": "a", "rejected": "b"}
    whole = prepared(PAIRS, [PAIR] * 5).train[0]
    cut = prepared(PAIRS, [PAIR] * 5 + [long], cutoff=whole.start + 2)
    assert (len(cut.train), cut.account.rows, cut.account.truncated, cut.account.dropped) == (5, 6, 6, 1)
    assert cut.train[0].input_ids == whole.input_ids[: whole.start + 2]
    assert cut.train[-1].rejected_ids == whole.rejected_ids[:2]
    assert cut.account.trained_tokens == 5 * 4
    assert cut.train.lengths.tolist() == [whole.start + 2] * 5
    kept = prepared(PAIRS, [PAIR] * 5 + [long], cutoff=len(whole.input_ids) + 8, too_long="skip")
    assert (len(kept.train), kept.account.truncated, kept.account.dropped) == (5, 0, 1)
    with pytest.raises(DataError, match=r"6 of 6 rows have no answer left within the cut-off of 16 tokens"):
        prepared(PAIRS, [PAIR] * 5 + [long], cutoff=16)


def test_a_pair_gives_two_labelled_answers_and_a_label_one(prepared):
    labelled = [{"prompt": "q", "completion": word, "label": label} for word, label in (("x", False), ("y", True))]
    (pair,) = prepared(PAIRS, [PAIR]).train
    made = prepared(LABELLED, [PAIR, *labelled])
    rows = made.train
    assert [row.good for row in rows] == [True, False, False, True]
    assert [rows[0].answer_ids, rows[1].answer_ids] == [pair.answer_ids, pair.rejected_ids]
    assert [made.origin(number).answer for number in range(4)][1:] == ["No", "x", "y"]
    assert made.datasets[0].rows == 3


def test_a_task_knows_the_answer_it_is_measured_by(prepared):
    (task,) = prepared(PROMPTS, [{"prompt": "1 + 1?", "completion": "The answer is 2."}]).train
    assert task.reference == "The answer is 2."


@pytest.mark.parametrize(
    ("builder", "row", "sentence"),
    [
        (PAIRS, {"prompt": "q", "completion": "a"}, "row 1 of 'rows' has one answer, where two are compared"),
        (LABELLED, {"prompt": "q", "completion": "a"}, "row 1 of 'rows' says of no answer whether it is good"),
    ],
)
def test_rows_without_what_is_needed_are_named(prepared, builder, row, sentence):
    with pytest.raises(DataError, match=sentence):
        prepared(builder, [row])


def test_other_rejected_answers_are_other_data(prepared):
    digests = {prepared(PAIRS, [PAIR | {"rejected": [{"role": "assistant", "content": text}]}]).datasets[0].sha256
               for text in ("No", "Never")}  # fmt: skip
    assert len(digests) == 2


@pytest.mark.parametrize("builder", [PAIRS, LABELLED, PROMPTS])
def test_texts_without_turns_are_refused(prepared, builder):
    with pytest.raises(DataError, match=r"row 2 of 'rows' is a text without turns.*objective.type=\"sft\""):
        prepared(builder, [PAIR | {"label": True}, {"text": "Llamas."}])
