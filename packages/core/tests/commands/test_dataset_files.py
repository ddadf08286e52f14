"""`camelid datasets convert|inspect|add|remove`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

GOOD = {"instruction": "q", "output": "a"}


@pytest.fixture
def mixed(home):
    """Two good rows, one line that is cut, one row of numbers."""
    lines = [json.dumps(GOOD), '{"instruction": "x', json.dumps(GOOD | {"output": 1}), json.dumps(GOOD)]
    Path("mixed.jsonl").write_text("\n".join(lines))
    return "mixed.jsonl"


def test_strict_stops_and_lenient_counts(camelid, mixed):
    ran = camelid("datasets", "convert", mixed, "--out", "out.json")
    assert (ran.code, ran.out) == (1, "")
    assert "mixed.jsonl, line 2, column 17: Unterminated string" in ran.err
    assert not Path("out.json").exists()
    ran = camelid("datasets", "convert", mixed, "--out", "out.json", "--lenient")
    assert (ran.code, ran.out) == (0, "2 rows written to out.json\n")
    assert "2 rows left out: 1 not_json, 1 no_text. The first: mixed.jsonl, line 2" in ran.err
    assert len(json.loads(Path("out.json").read_text())) == 2


def test_a_mapping_and_a_writer_can_be_named(camelid, home):
    Path("x.csv").write_text("Frage;Antwort\nq;a\n")
    ran = camelid(
        *("datasets", "convert", "x.csv", "--out", "out.jsonl"),
        *("--map", "instruction=Frage,output=Antwort", "--writer", "sharegpt"),
    )
    assert ran.code == 0
    assert json.loads(Path("out.jsonl").read_text())["conversations"] == [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
    ]


def test_flan_says_what_it_un_escaped_and_can_keep_it(camelid, home):
    Path("sums_train.tsv").write_text("What is 1 + 1?\\nThink!\t2\t1 + 1 = 2\n" * 3)
    ran = camelid("datasets", "convert", "sums_train.tsv", "--reader", "flan-tsv", "--out", "out.json")
    assert ran.out == "3 rows written to out.json\n"
    assert ran.err == "3 rows had literal \\n un-escaped\n"
    assert json.loads(Path("out.json").read_text())[0] == {
        "instruction": "What is 1 + 1?\nThink!",
        "input": "",
        "output": "1 + 1 = 2\nThe answer is 2.",
    }
    ran = camelid("datasets", "convert", "sums_train.tsv", "--keep-escapes", "--out", "out.json")
    assert ran.err == ""
    assert "\\\\n" in Path("out.json").read_text()


def test_inspect_says_what_a_file_is_and_counts_its_faults(camelid, mixed):
    report = camelid("datasets", "inspect", mixed, "--json", "--rows", 1).json
    assert report["taken_for"].startswith("JSON Lines; all of the first 3 rows have 'instruction' and 'output'")
    assert (report["read_as"], report["fits"], report["rows"], report["left_out"]) == ("alpaca", False, 2, 2)
    assert report["faults"] == {"not_json": 1, "no_text": 1}
    assert [turn["content"] for turn in report["first"][0]["messages"]] == ["q", "a"]
    text = camelid("datasets", "inspect", mixed).out
    assert "faults     1 not_json, 1 no_text" in text
    assert text.count("\nfirst ") == 2


def test_inspect_tries_the_mapping_it_proposes(camelid, home):
    Path("x.csv").write_text("Frage,Antwort\nq,a\n")
    report = camelid("datasets", "inspect", "x.csv", "--json").json
    assert (report["mapping"], report["fits"], report["rows"]) == ("instruction=Frage,output=Antwort", False, 1)
    assert "no reader knows the columns Frage, Antwort" in report["taken_for"]


def test_inspect_says_where_a_file_breaks_off(camelid, home):
    Path("x.json").write_text(json.dumps([GOOD] * 40)[:-40])
    ran = camelid("datasets", "inspect", "x.json", "--json")
    assert ran.code == 1
    assert ran.json["rows"] == 38
    assert "x.json, row 39 (line 1, column" in ran.json["stopped"]


def test_added_data_can_be_named_shown_and_removed(camelid, home):
    Path("x.csv").write_text("question,answer\nq,a\nr,b\n")
    ran = camelid("datasets", "add", "x.csv", "--name", "mine", "--licence", "cc0-1.0", "--lang", "en, zh")
    assert (ran.code, ran.out) == (0, "2 rows added as 'mine'; a recipe may name it now.\n")
    shown = camelid("datasets", "show", "mine", "--rows", 5).out
    assert '"content": "b"' in shown
    assert camelid("datasets", "convert", "mine", "--out", "out.jsonl").code == 0
    again = camelid("datasets", "add", "x.csv", "--name", "mine")
    assert again.code == 2
    assert "'mine-v2' would be free" in again.err
    assert camelid("datasets", "remove", "mine").out == "'mine' is removed.\n"
    assert camelid("datasets", "remove", "mine").code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["add", "http://example.org/x.json"], 2, "only https"),
        (["add", "gone.jsonl"], 1, "'gone.jsonl' cannot be read: No such file"),
        (["add", "good.jsonl", "--name", "../x"], 2, "dataset name '../x' cannot be used"),
        (["add", "good.jsonl", "--name", "cot-arithmetic"], 2, "there is a dataset 'cot-arithmetic' already"),
        (["add", "good.jsonl", "--map", "x=y"], 2, "'x=y' does not fit"),
        (["inspect", "gone.jsonl"], 1, "'gone.jsonl' cannot be read: No such file"),
        (["inspect", "empty.jsonl"], 1, "empty.jsonl holds no rows"),
        (["convert", "good.jsonl", "--out", "x.json", "--reader", "x"], 2, "reader 'x' is not known"),
        (["convert", "good.jsonl", "--out", "x.json", "--writer", "x"], 2, "writer 'x' is not known"),
        (["convert", "good.jsonl", "--out", "x.json", "--split", "heldout"], 2, "is a file and has no held-out part"),
        (["convert", "good.jsonl", "--out", "gone/x.json"], 1, "cannot be written: No such file"),
        (["convert", "cot-arithmetic", "--out", "x.json", "--map", "instruction=a,output=b"], 2, "is no file"),
        (["remove", "cot-arithmetic"], 2, "added dataset 'cot-arithmetic' is not known"),
    ],
)
def test_what_does_not_fit_is_a_sentence(camelid, home, arguments, code, sentence):
    Path("good.jsonl").write_text(json.dumps(GOOD))
    Path("empty.jsonl").write_text("")
    ran = camelid("datasets", *arguments)
    assert (ran.code, sentence in ran.err) == (code, True), ran.err
    assert "Traceback" not in ran.err
