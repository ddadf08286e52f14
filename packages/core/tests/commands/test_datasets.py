"""`camelid datasets`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_list_and_its_language_filter(camelid):
    rows = camelid("datasets", "list", "--json").json
    arithmetic = next(row for row in rows if row["dataset"] == "cot-arithmetic")
    assert arithmetic["languages"] == ["en", "zh"]
    assert arithmetic["licence"] == "cc0-1.0"
    only = camelid("datasets", "list", "--json", "--lang", "zh").json
    assert only == [row for row in rows if "zh" in row["languages"]]
    assert camelid("datasets", "list", "--lang", "xx").out == "Nothing to list.\n"


def test_show_gives_rows_as_json_lines(camelid):
    ran = camelid("datasets", "show", "cot-arithmetic-en", "--rows", 4, "--split", "heldout")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert len(rows) == 4
    assert [message["role"] for message in rows[0]["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_converting_to_alpaca_and_reading_that_loses_nothing(camelid, suffix):
    ran = camelid("datasets", "convert", "cot-arithmetic", "--out", f"out{suffix}", "--rows", 20)
    assert (ran.code, ran.out) == (0, f"20 rows written to out{suffix}\n")
    original = camelid("datasets", "show", "cot-arithmetic", "--rows", 20).out.splitlines()
    again = camelid("datasets", "show", f"out{suffix}", "--rows", 100).out.splitlines()
    assert [json.loads(line)["messages"] for line in again] == [json.loads(line)["messages"] for line in original]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["show", "cot-arithmetik"], 2, "Did you mean 'cot-arithmetic'?"),
        (["show", "cot-arithmetic", "--split", "test"], 2, "split 'test' is not known; use train or heldout."),
        (["convert", "cot-arithmetic", "--out", "x.txt"], 2, "must end in .json, .jsonl"),
        (["show", "bad.jsonl"], 1, "bad.jsonl, line 1"),
        (["show", "cot-arithmetic", "--rows", "0"], 2, "Invalid value for '--rows'"),
    ],
)
def test_what_does_not_fit_is_a_sentence(camelid, arguments, code, sentence):
    Path("bad.jsonl").write_text("{")
    ran = camelid("datasets", *arguments)
    assert ran.code == code
    assert sentence in ran.err
