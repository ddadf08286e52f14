"""The nine sets: phrased by seed and row, un-escaped unless parity is asked for, and complete."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from camelid_alpaca_cot.collection_table import load_collection
from camelid_alpaca_cot.cot import cot_datasets, read_set
from camelid_alpaca_cot.phrasings import cot_set_name, phrasing_index, phrasings
from camelid_core.datasets.noted_records import notes_of
from camelid_core.readers import Faults, read
from camelid_core.writers import write_alpaca
from hypothesis import given
from hypothesis import strategies as st

SETS = [part.name for part in load_collection().cot]
COUNTS = {name: 15 if name in ("aqua", "qed") else 10 for name in SETS}


@pytest.fixture
def flan_file(tmp_path):
    """A FLAN file of a set: `flan_file(name, rows)` with rows of question, answer, reasoning."""

    def make(name, rows):
        path = tmp_path / f"{name}_train.tsv"
        path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return make


def test_a_hundred_pairs_several_for_every_set():
    assert {name: len(pairs) for name, pairs in phrasings().items()} == COUNTS
    assert sum(COUNTS.values()) == 100
    for pairs in phrasings().values():
        assert len({ask for ask, _ in pairs}) == len({reply for _, reply in pairs}) == len(pairs)
        for ask, reply in pairs:
            assert ask.count("{question}") == reply.count("{chain_of_thought}") == reply.count("{answer}") == 1


def test_the_fourth_pair_of_strategyqa_has_the_known_shape():
    assert phrasings()["strategyqa"][3] == (
        "Answer the following question by reasoning step-by-step. {question}",
        "{chain_of_thought} Therefore, the final answer is {answer}.",
    )


@given(st.integers(0, 2**31), st.sampled_from(SETS), st.integers(1, 10**6))
def test_the_choice_is_a_matter_of_seed_set_and_row(seed, name, number):
    chosen = phrasing_index(seed, name, number, COUNTS[name])
    assert chosen == phrasing_index(seed, name, number, COUNTS[name])
    assert 0 <= chosen < COUNTS[name]


def test_the_choice_stays_the_same_in_every_release():
    assert [phrasing_index(0, "gsm8k", row, 10) for row in range(1, 9)] == CHOICES


CHOICES = [7, 2, 4, 9, 1, 5, 5, 2]


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_phrased_in_all_its_ways_and_nothing_is_lost(flan_file, name):
    path = flan_file(name, [(f"Why {n}?", f"({n})", f"Because {{answer}} {n}.") for n in range(400)])
    records = list(read_set(path))
    assert len(records) == 400
    for n, record in enumerate(records):
        assert f"Why {n}?" in record.messages[0].content
        assert f"Because {{answer}} {n}." in record.answer, "reasoning is put in as it is"
        assert f"({n})" in record.answer
        assert (record.source, record.id) == (f"cot-{name}", f"{name}-{n + 1}")
    asked = Counter(record.messages[0].content.replace(f"Why {n}?", "") for n, record in enumerate(records))
    assert len(asked) == COUNTS[name]
    assert min(asked.values()) > 400 / COUNTS[name] / 3


def test_the_same_seed_gives_the_same_file_and_another_seed_another(flan_file, tmp_path):
    path = flan_file("gsm8k", [(f"How many {n}?", str(n), f"{n} it is.") for n in range(300)])
    written = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{number}.json"
        assert write_alpaca(read(path, "flan-tsv", seed=seed), out) == 300
        written.append(out.read_bytes())
        assert {tuple(row) for row in json.loads(written[-1])} == {("instruction", "input", "output")}
    assert written[0] == written[1] != written[2]


def test_escaped_line_breaks_are_put_right_and_counted_or_kept(flan_file):
    path = flan_file("ecqa", [("Where?\\nOptions:\\n- here", "here", "It is."), ("Who?", "me", "I.")])
    faults = Faults()
    assert "Where?\nOptions:\n- here" in next(read_set(path, faults=faults)).messages[0].content
    assert sum(faults.notes.values()) == 1
    assert "Where?\\nOptions" in next(read_set(path, keep_escapes=True)).messages[0].content


def test_line_breaks_of_the_originals_json_are_put_right_too_and_latex_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    place = tmp_path / "data" / "formatted_cot_data" / "ecqa_train.json"
    place.parent.mkdir(parents=True)
    texts = ["Where?\\n- here\\n- there", "Is $a \\neq b$?", "Who?"]
    place.write_text(json.dumps([{"instruction": text, "input": "", "output": "x"} for text in texts]))
    (dataset,) = [each for each in cot_datasets(load_collection()) if each.name == "cot-ecqa"]
    records = dataset.load("train", None)
    asked = [record.messages[0].content for record in records]
    assert asked == ["Where?\n- here\n- there", *texts[1:]]
    assert notes_of(records) == ["1 row had literal \\n un-escaped"]


@pytest.mark.parametrize(
    ("stem", "name"), [("gsm8k_train", "gsm8k"), ("GSM8K", "gsm8k"), ("gsm8k_test", ""), ("mine", ""), ("_train", "")]
)
def test_a_set_is_known_by_the_name_of_its_file(stem, name):
    assert cot_set_name(stem) == name


def test_another_tsv_is_left_to_core(flan_file):
    record = next(read(flan_file("mine", [("Why?", "so", "Because.")]), "flan-tsv"))
    assert (record.messages[0].content, record.source) == ("Why?", "mine_train")
