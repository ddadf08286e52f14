"""How a recipe names what to learn from."""

from __future__ import annotations

import itertools
import json

import pytest
from camelid_core.builtin.datasets import DATASETS
from camelid_core.datasets.dataset import Dataset, Source
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.plugins import load_host
from camelid_core.registry import Registry
from camelid_core.testing import write_jsonl
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def datasets():
    return load_host().datasets


names = st.text("abc/.-_", min_size=1)


@given(names, st.floats(0.001, 100))
def test_a_source_is_a_name_and_a_weight(name, weight):
    assert Source.parse(f"{name}:{weight!r}") == Source(name, weight)
    assert Source.parse(name) == Source(name, 1.0)


@pytest.mark.parametrize("text", ["a:b", "C:\\data\\x.json", "dir:x/file.json", "a:1:b"])
def test_a_colon_without_a_number_belongs_to_the_name(text):
    assert Source.parse(text) == Source(text)


@pytest.mark.parametrize("weight", ["0", "-1", "101", "nan", "inf", "1e9"])
def test_a_weight_out_of_bounds_is_refused(weight):
    with pytest.raises(UsageError, match="the weight must be above 0 and at most 100"):
        Source.parse(f"cot-arithmetic:{weight}")


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_a_built_in_dataset_says_what_it_is_and_gives_what_it_says(dataset):
    assert dataset.help
    assert dataset.licence != "unknown"
    assert len(list(dataset.load("train", 7))) == 7
    assert len(list(dataset.load("train", None))) == dataset.rows
    assert len(list(dataset.load("heldout", None))) == dataset.heldout_rows
    assert list(dataset.load("train", 5)) == list(itertools.islice(dataset.load("train", None), 5))


@pytest.mark.parametrize("dataset", DATASETS, ids=lambda dataset: dataset.name)
def test_no_held_out_row_is_a_training_row(dataset):
    train = {record.messages for record in dataset.load("train", None)}
    assert not train & {record.messages for record in dataset.load("heldout", None)}


def test_a_file_is_a_dataset_too(tmp_path, datasets):
    path = tmp_path / "mine.jsonl"
    path.write_text(3 * (json.dumps({"instruction": "a", "output": "b"}) + "\n"))
    dataset = open_dataset(str(path), datasets)
    assert (dataset.name, dataset.licence, dataset.heldout_rows) == (str(path), "unknown", 0)
    assert len(list(dataset.load("train", None))) == 3
    assert len(list(dataset.load("train", 2))) == 2


def test_an_alias_is_answered_to_by_name_or_file_name_unless_there_is_such_a_file(tmp_path, monkeypatch):
    registry = Registry("dataset")
    registry.add(
        Dataset("sums", "", "cc0-1.0", (), 1, lambda split, limit: iter(()), aliases=("s.json", "adding")), "us"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("sums", "adding", "s.json", "./data/s.json"):
        assert open_dataset(name, registry).name == "sums"
    write_jsonl(tmp_path / "s.json", [{"instruction": "a", "output": "b"}])
    assert open_dataset("s.json", registry).name == "s.json"


def test_a_name_that_is_neither_suggests_the_nearest(datasets):
    with pytest.raises(UnknownName, match=r"dataset 'cot-arithmetik' is not known\. Did you mean 'cot-arithmetic'\?"):
        open_dataset("cot-arithmetik", datasets)


def test_a_directory_asks_for_a_file_in_it(tmp_path, datasets):
    with pytest.raises(DataError, match=r"is a directory; name a data file in it"):
        open_dataset(str(tmp_path), datasets)


def test_a_plus_joins_sources_unless_something_has_that_very_name(tmp_path, datasets):
    names = [(s.name, s.weight) for s in parse_sources(["cot-arithmetic-en+cot-arithmetic-zh:0.5"], datasets)]
    assert names == [("cot-arithmetic-en", 1.0), ("cot-arithmetic-zh", 0.5)]
    odd = write_jsonl(tmp_path / "a+b.jsonl", [{"instruction": "a", "output": "b"}])
    assert parse_sources([str(odd)], datasets) == [Source(str(odd))]
