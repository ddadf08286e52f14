"""From a recipe's data section to examples, and the account of what was kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from types import SimpleNamespace

import pytest
from camelid_core.builtin.templates import CHATML
from camelid_core.datasets.dataset import Dataset
from camelid_core.errors import DataError, TemplateError
from camelid_core.plugins import load_host
from camelid_core.records import Message, alpaca
from camelid_core.templates.segments import Segment
from camelid_core.testing import tiny_tokenizer, write_jsonl
from camelid_core.tokenization.encoder import IGNORE, Encoder
from camelid_train.config import DataSection
from camelid_train.data import prepare
from camelid_train.loop.batches import lengths_of
from hypothesis import given
from hypothesis import strategies as st

ENCODER = Encoder(tiny_tokenizer(), CHATML)


@pytest.fixture(autouse=True)
def cached(home):
    """Each test with a token cache of its own."""


class Box:
    """A host that knows the datasets given."""

    def __init__(self, **sizes: tuple[int, int]) -> None:
        self.datasets = {name: self._dataset(name, *rows) for name, rows in sizes.items()}

    def _dataset(self, name: str, rows: int, heldout: int) -> Dataset:
        def load(split, limit):
            count = rows if split == "train" else heldout
            for number in range(count if limit is None else min(count, limit)):
                yield alpaca(f"{name} {split} {number}", "yes", id=str(number), source=name)

        return Dataset(name, "", "mit", ("en",), rows, load, heldout)


def texts(examples) -> list[str]:
    return [ENCODER.decode(example.input_ids).split("\n")[1].removesuffix("<|im_end|>") for example in examples]


def section(*sources: str, **fields) -> DataSection:
    return DataSection.model_validate({"sources": list(sources), "eval_rows": 0, **fields})


@given(st.integers(1, 60), st.integers(0, 30), st.integers(0, 5))
def test_without_a_held_out_part_one_is_cut_and_shares_no_row(rows, eval_rows, seed):
    data = prepare(section("a", eval_rows=eval_rows, split_seed=seed), ENCODER, Box(a=(rows, 0)))
    train, heldout = texts(data.train), texts(data.heldout)
    assert not set(train) & set(heldout)
    assert sorted(train + heldout) == sorted(f"a train {number}" for number in range(rows))
    assert len(heldout) == min(eval_rows, rows // 10)


def test_copies_of_a_held_out_row_are_not_trained_on(tmp_path):
    rows = [{"instruction": f"q{number % 10}", "output": "a"} for number in range(40)]
    path = write_jsonl(tmp_path / "copies.jsonl", rows)
    data = prepare(section(str(path), eval_rows=4), ENCODER, load_host())
    assert data.heldout
    assert not set(texts(data.train)) & set(texts(data.heldout))


def test_a_held_out_part_of_its_own_is_used_whole():
    data = prepare(section("a", eval_rows=3), ENCODER, Box(a=(20, 9)))
    assert texts(data.heldout) == [f"a heldout {number}" for number in range(3)]
    assert len(data.train) == 20


def test_sources_share_the_held_out_rows():
    data = prepare(section("a", "b", eval_rows=5), ENCODER, Box(a=(20, 9), b=(50, 0)))
    assert [text[0] for text in texts(data.heldout)] == ["a"] * 2 + ["b"] * 3


@given(st.integers(1, 50), st.floats(0.01, 4))
def test_a_weight_takes_that_share_of_the_rows_spread_evenly(rows, weight):
    data = prepare(section(f"a:{weight!r}", cutoff=64), ENCODER, Box(a=(rows, 1))) if rows * weight >= 1 else None
    if data is not None:
        train = texts(data.train)
        assert abs(len(train) - rows * weight) <= 1
        counts = [train.count(f"a train {number}") for number in range(rows)]
        assert max(counts) - min(counts) <= 1


def test_a_cap_on_rows_is_a_cap_on_the_mix_and_the_record_says_what_went_in():
    data = prepare(section("a", "b:2", rows=10), ENCODER, Box(a=(20, 1), b=(20, 1)))
    assert len(data.train) == data.account.rows == 10
    assert sum(use.rows for use in data.datasets) == 10
    train = texts(data.train)
    assert [use.rows for use in data.datasets] == [sum(text.startswith(name) for text in train) for name in "ab"]


def test_what_went_in_is_recorded_with_licence_and_digest(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"instruction": "q", "input": "c", "output": "a"}])
    (use,) = prepare(section(str(path)), ENCODER, load_host()).datasets
    expected = hashlib.sha256(b"user\x1fq\x1fc\x1fassistant\x1fa\x1f\x1f\x1e").hexdigest()
    assert (use.id, use.rows, use.sha256, use.licence) == (str(path), 1, expected, "unknown")


def test_the_digest_changes_with_any_record():
    first, second, third = (
        prepare(section("a"), ENCODER, Box(a=sizes)).datasets[0].sha256 for sizes in ((20, 1), (20, 1), (21, 1))
    )
    assert first == second != third


def long_rows(tmp_path, long: int, short: int):
    rows = [{"instruction": "x " * 200, "output": "y"}] * long + [{"instruction": "x", "output": "y " * 60}] * short
    return str(write_jsonl(tmp_path / "rows.jsonl", rows))


def test_rows_that_are_cut_or_lose_their_answer_are_counted(tmp_path):
    data = prepare(section(long_rows(tmp_path, 2, 8), cutoff=40), ENCODER, load_host())
    account = data.account
    assert (account.rows, account.truncated, account.dropped) == (10, 8, 2)
    assert len(data.train) == 8
    assert account.total_tokens == sum(len(example.input_ids) for example in data.train) == 8 * 40
    assert account.trained_tokens == sum(label != IGNORE for example in data.train for label in example.labels)


def test_rows_that_are_too_long_are_skipped_whole_where_that_is_asked_for(tmp_path):
    rows = long_rows(tmp_path, 2, 8)
    every = prepare(section(rows, cutoff=4096), ENCODER, load_host()).train
    cutoff = sorted(every.lengths)[7]
    data = prepare(section(rows, cutoff=int(cutoff), too_long="skip"), ENCODER, load_host())
    assert (len(data.train), data.account.truncated, data.account.dropped) == (8, 0, 2)
    assert sorted(data.train.lengths) == sorted(every.lengths)[:8]
    with pytest.raises(
        DataError, match=r'10 of 10 rows are longer than 16 tokens\. Raise data\.cutoff, or set .*"cut"'
    ):
        prepare(section(rows, cutoff=16, too_long="skip"), ENCODER, load_host())


def test_where_too_many_lose_their_answer_nothing_is_trained(tmp_path):
    with pytest.raises(
        DataError, match=r"4 of 10 rows have no answer left within the cut-off of 40 tokens\. Raise data\.cutoff"
    ):
        prepare(section(long_rows(tmp_path, 4, 6), cutoff=40), ENCODER, load_host())


def test_where_the_template_marks_nothing_it_is_the_template_that_is_named():
    def render(messages):
        return [Segment(segment.text, control=segment.control) for segment in CHATML.render(messages)]

    mute = Encoder(tiny_tokenizer(), SimpleNamespace(name="mute", render=render, jinja=str))
    with pytest.raises(DataError, match=r"template 'mute' marks nothing to learn in 5 of 5 rows\. Choose another"):
        prepare(section("a"), mute, Box(a=(5, 1)))


@given(st.integers(28, 200))
def test_no_example_is_longer_than_the_cut_off_nor_without_a_label(cutoff):
    rows = [alpaca("x " * (n % 7), "y " * (n % 90)) for n in range(30)]
    host = Box(a=(1, 1))
    host.datasets["a"] = dataclasses.replace(host.datasets["a"], load=lambda split, limit: iter(rows))
    data = prepare(section("a", cutoff=cutoff), ENCODER, host)
    for example in data.train:
        assert len(example.input_ids) == len(example.labels) <= cutoff
        assert any(label != IGNORE for label in example.labels)


def test_an_answer_without_text_still_teaches_to_stop(tmp_path):
    path = write_jsonl(tmp_path / "x.jsonl", [{"instruction": "q", "output": ""}])
    (example,) = prepare(section(str(path)), ENCODER, load_host()).train
    assert [label for label in example.labels if label != IGNORE] == [ENCODER.tokenizer.eos_token_id]


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([{"role": "user", "content": "q"}], "the last turn is from 'user'"),
        ([{"role": "assistant", "content": "q"}], "turn 1 is from 'assistant'"),
        ([{"role": "system", "content": "q"}] * 2, "turn 2 is from 'system'"),
    ],
)
def test_a_conversation_the_template_has_no_form_for_is_named_by_row_and_role(tmp_path, messages, sentence):
    good = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in (good, good, {"messages": messages})))
    with pytest.raises(DataError, match=rf"no form for 1 of 3 rows: row 3 of 'chats': template 'chatml': .*{sentence}"):
        prepare(section(str(path)), ENCODER, load_host())
    path.write_text("\n".join(json.dumps(row) for row in (good, good, {"messages": messages}, good)))
    data = prepare(section(str(path)), ENCODER, load_host())
    assert (data.account.rows, data.account.refused, len(data.train)) == (4, 1, 3)
    assert any(re.search(rf"^1 row was left out, .*: row 3 of 'chats': .*{sentence}", note) for note in data.notes)


@pytest.mark.parametrize("roles", ["uua", "uasua", "suaua", "auua", "uaa"])
@pytest.mark.parametrize("name", [name for name in load_host().templates.names() if name != "own"])
def test_what_a_template_can_be_asked_it_can_be_trained_on(tmp_path, name, roles):
    """Rows whose turns do not alternate are learnt from, every answer of them, where chat takes them, and named where
    it does not."""
    roles = [{"s": "system", "u": "user", "a": "assistant"}[each] for each in roles]
    messages = [Message(role, f"{role} {number}.") for number, role in enumerate(roles)]
    odd = {"messages": [{"role": each.role, "content": each.content} for each in messages]}
    plain = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    path = write_jsonl(tmp_path / "chats.jsonl", [plain, plain, plain, odd])
    encoder = Encoder(tiny_tokenizer(), load_host().templates[name])
    data = prepare(section(str(path), cutoff=8192), encoder, load_host())
    try:
        encoder.prompt_ids(messages[:-1] if roles[-2] == "user" else [*messages, Message("user", "?")])
    except TemplateError:
        assert len(data.train) == 3
        assert any("row 4 of 'chats'" in note for note in data.notes)
        return
    assert len(data.train) == 4
    trained = "".join(
        encoder.tokenizer.decode([label for label in example.labels if label != IGNORE]) for example in data.train
    )
    for message in messages:
        assert (message.content in trained) == (message.role == "assistant")


def test_an_empty_source_is_a_sentence(tmp_path):
    path = tmp_path / "empty.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=r"empty\.json holds no rows"):
        prepare(section(str(path)), ENCODER, load_host())
    with pytest.raises(DataError, match="a: no rows to train on"):
        prepare(section("a"), ENCODER, Box(a=(0, 5)))


def test_the_order_is_the_same_for_the_same_seed_and_only_then():
    orders = [
        texts(prepare(section("a", "b", seed=seed), ENCODER, Box(a=(40, 1), b=(40, 1))).train) for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_another_cut_off_tokenises_nothing_anew(tmp_path, monkeypatch):
    path = long_rows(tmp_path, 2, 8)
    whole = prepare(section(path, cutoff=4096), ENCODER, load_host())
    monkeypatch.setattr(Encoder, "tokens", None)
    cut = prepare(section(path, cutoff=40), ENCODER, load_host())
    assert (len(whole.train), len(cut.train)) == (10, 8)
    assert all(len(example.input_ids) == 40 for example in cut.train)


def test_lengths_are_known_without_reading_rows(tmp_path, monkeypatch):
    data = prepare(section(long_rows(tmp_path, 2, 8), cutoff=40), ENCODER, load_host())
    expected = [len(example.input_ids) for example in data.train]
    monkeypatch.setattr(type(data.train), "__getitem__", None)
    assert lengths_of(data.train) == expected


def test_how_far_it_is_is_told_in_rows():
    told = []
    prepare(section("a"), ENCODER, Box(a=(60, 1)), progress=lambda done, total: told.append((done, total)))
    assert told[0] == (60, 60)


def test_many_rows_are_the_same_as_few():
    host = Box(a=(600, 1))
    assert texts(prepare(section("a"), ENCODER, host).train) == [f"a train {number}" for number in range(600)]
