"""`hf:` sources, read by the real `datasets` library from a directory that stands where the repository would."""

from __future__ import annotations

import json

import pytest
from camelid_core.datasets import Source, open_source
from camelid_core.errors import DataError, UsageError
from camelid_core.hub_source import HubName
from camelid_core.registry import Registry
from hypothesis import given
from hypothesis import strategies as st

part = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True)


@given(part, part, st.one_of(st.just(""), part), st.one_of(st.just(""), part))
def test_a_name_is_taken_apart_and_weighs_what_a_source_weighs(org, name, revision, config):
    text = f"hf:{org}/{name}" + (f"@{revision}" if revision else "") + (f"/{config}" if config else "")
    assert HubName.parse(text) == HubName(f"{org}/{name}", revision, config)
    assert Source.parse(f"{text}:0.5") == Source(text, 0.5)


@pytest.mark.parametrize("text", ["hf:", "hf:gsm8k", "hf:a/b/c/d", "hf:../b", "hf:a/b@", "hf:a b/c"])
def test_another_way_of_writing_is_refused_with_the_right_one(text):
    with pytest.raises(UsageError, match="write hf:ORG/NAME"):
        open_source(text, Registry("dataset"))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """`repository(rows, file)` puts rows where `hf:org/name` is looked for first: under the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def put(rows, file="train.jsonl"):
        directory = tmp_path / "org" / "name"
        directory.mkdir(parents=True, exist_ok=True)
        if file.endswith(".parquet"):
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), directory / file)
        else:
            (directory / file).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    return put


@pytest.mark.parametrize("file", ["train.jsonl", "train.parquet"])
@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Why?", "input": "", "output": "So."},
        {"prompt": "Why?", "completion": "So."},
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    ],
)
def test_rows_stream_and_are_what_their_columns_say(repository, row, file):
    repository([row] * 5, file)
    dataset = open_source("hf:org/name", Registry("dataset"))
    assert dataset.missing() == ""
    found = list(dataset.load("train", 3))
    assert [(record.prompt[-1].content, record.answer, record.id) for record in found] == [
        ("Why?", "So.", str(n)) for n in (1, 2, 3)
    ]
    assert list(dataset.load("heldout", None)) == []


def test_a_hub_out_of_reach_is_a_sentence_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"cannot be reached from here\..* dataset org/name`\), copy"):
        list(open_source("hf:org/name@v1", Registry("dataset")).load("train", 1))


def test_what_cannot_be_read_is_a_sentence(repository):
    repository([{"a": 1}])
    with pytest.raises(DataError, match=r"hf:org/name, row 1: no known format"):
        list(open_source("hf:org/name", Registry("dataset")).load("train", None))
