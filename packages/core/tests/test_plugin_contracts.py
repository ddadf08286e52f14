"""The contracts of datasets and readers: Camelid's own keep them, and each rule is broken by something here."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
from camelid_core.builtin.datasets import DATASETS
from camelid_core.datasets.dataset import Dataset
from camelid_core.plugin_kit.description_rules import assert_described
from camelid_core.plugins import load_host
from camelid_core.readers import READERS, Reader, RowFault, build_record
from camelid_core.records import Message, Record, alpaca, text_record
from camelid_core.testing import assert_dataset_contract, assert_reader_contract, write_jsonl

DESCRIBED = (
    "camelid_model_adapters", "camelid_prompt_templates", "camelid_datasets", "camelid_readers", "camelid_commands",
    "camelid_tasks", "camelid_plugin_kinds",
)  # fmt: skip


@pytest.mark.parametrize("hook", DESCRIBED)
def test_everything_of_ours_has_a_name_that_can_be_typed_and_a_sentence(hook):
    for item in load_host().registry(hook):
        assert_described(item)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (7, "x", "a name is a text"),
        ("a b", "x", "has other characters"),
        ("-x", "x", "has other characters"),
        ("x", None, "help is None"),
        ("x", " ", "help is empty"),
        ("x", "a\nb", "help has several lines"),
    ],
)
def test_a_name_that_cannot_be_typed_or_a_help_that_cannot_be_listed(name, text, sentence):
    with pytest.raises(AssertionError, match=sentence):
        assert_described(replace(SOUND, name=name, help=text))


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_our_datasets_keep_the_contract(dataset):
    assert_dataset_contract(dataset)


def rows(split="train", count=5) -> list[Record]:
    return [alpaca(f"{split} {n}?", f"{n}.", id=str(n), source="sound") for n in range(count)]


def load(split, limit):
    return islice(iter(rows(split)), limit)


SOUND = Dataset("sound", "Five rows.", "cc0-1.0", ("en",), 5, load, heldout_rows=5)


def giving(*given: object) -> Dataset:
    """Rows that are these, and no held-out ones."""
    return replace(SOUND, rows=0, heldout_rows=0, load=lambda split, limit: islice(iter(given), limit))


def other_rows(calls=iter(range(1000))):  # noqa: B008 - one counter for all calls is what is wrong with it
    def load(split, limit):
        start = next(calls)
        return islice((alpaca(f"{split} {start + n}?", "x", id=str(n)) for n in range(5)), limit)

    return replace(SOUND, load=load)


def test_a_sound_dataset_passes():
    assert_dataset_contract(SOUND)
    assert_dataset_contract(giving(text_record("A text by itself.", "1")))


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (replace(SOUND, licence="unknown"), "no licence"),
        (replace(SOUND, licence="CC0"), "the licence is 'CC0'; write 'cc0-1.0'"),
        (replace(SOUND, languages="en"), "languages is one text"),
        (replace(SOUND, languages=()), "no language"),
        (replace(SOUND, languages=("",)), "a language is empty"),
        (replace(SOUND, missing=lambda: "fetch it."), "its rows are not here: fetch it"),
        (replace(SOUND, rows=4), "says that it has 4 rows, and has 5"),
        (replace(SOUND, heldout_rows=6), "heldout: it says that it has 6 rows"),
        (replace(SOUND, load=lambda split, limit: islice(iter(rows("train")), limit)), "held-out rows are trained on"),
        (replace(SOUND, load=lambda split, limit: iter(rows(split))), "a limit of 0 does not give 0 rows"),
        (other_rows(), "load gives other rows when it is called again"),
        (giving(), "it has no rows"),
        (giving({"instruction": "x"}), "load yields camelid_core.records.Record"),
        (giving(Record((), "1")), "it has no messages"),
        (giving(Record((Message("user", "x"),), "1")), "the last message is no answer"),
        (giving(alpaca("x", " ", id="1")), "the answer is empty"),
        (giving(text_record(" ", "1")), "the text is empty"),
        (giving(alpaca("x", "y")), "it has no id"),
        (giving(alpaca("x", "y", id="1"), alpaca("z", "y", id="1")), "several rows have the id '1'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_dataset_fails_with_its_name_and_what_is_wrong(broken, sentence):
    with pytest.raises(AssertionError, match=f"sound.*{sentence}"):
        assert_dataset_contract(broken)


OURS = {
    "alpaca": {"instruction": "Add.", "input": "2 and 3", "output": "5"},
    "sharegpt": {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
    "messages": {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]},
    "text": {"text": "A text by itself."},
}


@pytest.mark.parametrize("name", OURS)
def test_our_readers_keep_the_contract(tmp_path, name):
    assert_reader_contract(READERS[name], write_jsonl(tmp_path / "rows.jsonl", [OURS[name]] * 2))


def record(row, number, read_context):
    for side in ("front", "back"):
        if not isinstance(row.get(side), str) or not row[side].strip():
            raise RowFault("no_text", f"no {side}.")
    return build_record([Message("user", row["front"]), Message("assistant", row["back"])], row, number, read_context)


CARDS = Reader("cards", "Flash cards.", record, (("front", "back"),))


@pytest.fixture
def cards(tmp_path):
    return write_jsonl(tmp_path / "cards.jsonl", [{"front": "Water", "back": "Wasser"}, {"front": "a", "back": "b"}])


def test_a_sound_reader_passes(cards):
    assert_reader_contract(CARDS, cards)


def counting(row, number, read_context, calls=iter(range(1000))):  # noqa: B008 - one counter for all is the fault
    return build_record([Message("assistant", str(next(calls)))], row, number, read_context)


def stripping(row, number, read_context):
    return alpaca(row["front"].strip(), row["back"], id=str(number), source=read_context.source)


def changing(row, number, read_context):
    row._row["front"] = "changed"
    return record(row, number, read_context)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (replace(CARDS, column_sets=(("question", "answer"),)), "none of the reader's column_sets"),
        (replace(CARDS, record=lambda row, *_: row), "which is no camelid_core.records.Record"),
        (replace(CARDS, record=lambda row, n, c: build_record([Message("user", "x")], row, n, c)), "has no answer"),
        (replace(CARDS, record=lambda *_: alpaca("x", "y", id="1", source="mine")), "the record's source is 'mine'"),
        (replace(CARDS, record=lambda *_: alpaca("x", "y", id="1", source="its-file")), "has '1', and not its number"),
        (replace(CARDS, record=stripping), "where 'front' is None, it raises AttributeError"),
        (replace(CARDS, record=stripping, column_sets=()), "it raises"),
        (replace(CARDS, record=counting), "another record when it is read again"),
        (replace(CARDS, record=changing), "the reader changes the row"),
        (replace(CARDS, rows=lambda path, context: iter(())), "finds no rows in cards.jsonl"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_broken_reader_fails_with_its_name_and_what_is_wrong(cards, broken, sentence):
    with pytest.raises(AssertionError, match=f"cards.*{sentence}"):
        assert_reader_contract(broken, cards)


def test_rows_that_it_refuses_itself_are_named(tmp_path):
    path = write_jsonl(tmp_path / "cards.jsonl", [{"front": "Water", "back": ""}])
    with pytest.raises(AssertionError, match=r"cards\.jsonl, row 1: a row of its own format is refused: no back"):
        assert_reader_contract(CARDS, path)


def test_rows_that_ours_would_take_first_are_named(tmp_path):
    path = write_jsonl(tmp_path / "cards.jsonl", [{"front": "x", "back": "y", "instruction": "a", "output": "b"}])
    with pytest.raises(AssertionError, match="reader 'alpaca' takes such rows first"):
        assert_reader_contract(CARDS, path)


def test_a_fault_without_a_sentence_is_named(cards):
    def silent(row, number, read_context):
        try:
            return record(row, number, read_context)
        except RowFault:
            raise RowFault("no_text", " ") from None

    with pytest.raises(AssertionError, match="RowFault says nothing"):
        assert_reader_contract(replace(CARDS, record=silent), cards)


def test_a_file_that_it_cannot_split_is_named(tmp_path):
    (tmp_path / "cards.json").write_text('[{"front": ')
    with pytest.raises(AssertionError, match=r"cards: it cannot split cards\.json into rows"):
        assert_reader_contract(CARDS, tmp_path / "cards.json")
