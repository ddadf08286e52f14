"""Data files out: nothing is lost, and a file is whole or not there."""

from __future__ import annotations

import json

import pytest
from camelid_core.errors import UsageError
from camelid_core.records import Message, Record, alpaca
from camelid_core.writers import to_alpaca, write_alpaca


def test_a_single_turn_is_alpacas_three_columns():
    assert to_alpaca(alpaca("Add.", "5", "2 and 3")) == {"instruction": "Add.", "input": "2 and 3", "output": "5"}


@pytest.mark.parametrize("roles", [["user"], ["system", "user", "assistant"], ["user", "assistant"] * 2])
def test_anything_else_is_messages(roles):
    record = Record(tuple(Message(role, "x") for role in roles))
    assert to_alpaca(record) == {"messages": [{"role": role, "content": "x"} for role in roles]}


def test_json_is_one_array_and_jsonl_one_object_a_line(tmp_path):
    records = [alpaca("a", "中"), alpaca("b", "\u2028")]
    write_alpaca(records, tmp_path / "x.json")
    write_alpaca(records, tmp_path / "x.jsonl")
    whole = json.loads((tmp_path / "x.json").read_text("utf-8"))
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").split("\n")[:-1]]
    assert whole == lines == [to_alpaca(record) for record in records]
    assert "中" in (tmp_path / "x.json").read_text("utf-8")


def test_no_rows_are_a_valid_file(tmp_path):
    assert write_alpaca([], tmp_path / "x.json") == 0
    assert json.loads((tmp_path / "x.json").read_text()) == []


def test_a_source_that_breaks_off_leaves_the_old_file(tmp_path):
    def broken():
        yield alpaca("a", "b")
        raise OSError

    path = tmp_path / "x.jsonl"
    path.write_text("old")
    with pytest.raises(OSError):
        write_alpaca(broken(), path)
    assert path.read_text() == "old"


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"must end in \.json or \.jsonl"):
        write_alpaca([], tmp_path / "x.csv")
