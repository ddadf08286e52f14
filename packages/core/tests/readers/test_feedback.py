"""A journal of judgements: rows are only added, and readers go by the last word on each answer."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from camelid_core.datasets.feedback import append_feedback, retraction
from camelid_core.errors import DataError
from camelid_core.readers import detect, read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def thumb(row_id: str, label: bool, answer: str = "Yes.") -> dict[str, object]:
    prompt = [{"role": "user", "content": "[1, 2"}]
    completion = [{"role": "assistant", "content": answer}]
    return {"id": row_id, "prompt": prompt, "completion": completion, "label": label}


WORDS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([True, False, None])), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(words=WORDS)
def test_the_last_word_counts_and_nothing_is_ever_taken_out(words, tmp_path):
    path, last, before = tmp_path / f"{secrets.token_hex(8)}.jsonl", {}, b""
    for row_id, label in words:
        news = last.get(row_id) != label
        assert append_feedback(path, [retraction(row_id) if label is None else thumb(row_id, label)]) == news
        now = path.read_bytes() if path.exists() else b""
        assert now.startswith(before)
        assert (len(now) > len(before)) == news
        last[row_id], before = label, now
    left = {row_id: label for row_id, label in last.items() if label is not None}
    if left:
        assert {record.id: record.label for record in read(path)} == left
        assert detect(path).fits
    elif before:
        with pytest.raises(DataError, match="holds no rows"):
            list(read(path))


def test_two_tabs_at_once_lose_nothing(tmp_path):
    path = tmp_path / "ratings.jsonl"
    with ThreadPoolExecutor(8) as tabs:
        list(
            tabs.map(lambda number: append_feedback(path, [thumb(str(number), number % 2 == 0, "x" * 5000)]), range(40))
        )
    assert {record.id: record.label for record in read(path)} == {str(n): n % 2 == 0 for n in range(40)}


def test_what_a_power_cut_tore_goes_and_what_was_removed_begins_anew(tmp_path):
    path = tmp_path / "deep" / "ratings.jsonl"
    append_feedback(path, [thumb("a", True)])
    with path.open("ab") as file:
        file.write(b'{"judged": "2026')
    append_feedback(path, [thumb("b", False)])
    assert [record.id for record in read(path)] == ["a", "b"]
    assert "judged" in json.loads(path.read_text("utf-8").splitlines()[1])
    path.unlink()
    assert append_feedback(path, [thumb("a", True)]) == 1


def test_what_cannot_be_kept_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"ratings\.jsonl' cannot be written"):
        append_feedback(tmp_path / "file" / "ratings.jsonl", [thumb("a", True)])
    path = tmp_path / "ratings.jsonl"
    with pytest.raises(DataError, match="half a surrogate"):
        append_feedback(path, [thumb("a", True), thumb("b", True, "\ud800")])
    assert append_feedback(path, [retraction("a")]) == 0
    assert not path.exists()


def test_rows_that_somebody_added_by_hand_stand_for_themselves(tmp_path):
    path = tmp_path / "ratings.jsonl"
    append_feedback(path, [thumb("a", True)])
    with path.open("a", encoding="utf-8") as file:
        file.write('{"prompt": "q", "completion": "r", "label": false}\n' * 2)
    assert [(record.id, record.label) for record in read(path)] == [("a", True), ("2", False), ("3", False)]
    assert append_feedback(path, [retraction("a")]) == 1
    assert [record.id for record in read(path)] == ["2", "3"]
    assert Path(path).read_bytes().count(b"\n") == 4
