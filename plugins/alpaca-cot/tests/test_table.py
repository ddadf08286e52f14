"""The table is the published one, and nothing derived from it has fewer duties than its parts."""

from __future__ import annotations

import pytest
from camelid_alpaca_cot.catalogue import datasets
from camelid_alpaca_cot.collection_table import load_collection
from hypothesis import given
from hypothesis import strategies as st

LANGUAGES, TASKS, GENERATIONS = {"EN", "CN", "ML", ""}, {"MT", "TS", ""}, {"HG", "SI", "MIX", "COL", ""}


def test_31_rows_whose_sizes_sum_to_what_is_published():
    rows = load_collection().rows
    assert (len(rows), sum(row.nums for row in rows)) == (31, 93_353_725)
    assert sum(row.nums > 0 for row in rows) == 26


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("cot", ("Chain of Thought", 74771, "EN/CN", "MT", "HG", "instruct with cot reasoning", "Chain-of-Thought")),
        (
            "belle-cn",
            ("belle_cn", 1079517, "CN", "TS/MT", "SI", "general, mathematical reasoning, dialogue", "belle_cn"),
        ),
        ("finance-en", ("finance_en", 68912, "EN", "TS", "COL", "financial related qa", "")),
        ("gpt4tools", ("GPT4Tools", 71446, "EN", "MT", "SI", "a collection of tool-related instructions", "-")),
        ("stackllama", ("StackLLaMA", 0, "", "", "", "", "-")),
    ],
)
def test_columns_are_as_published(name, columns):
    row = next(row for row in load_collection().rows if row.name == name)
    assert (row.title, row.nums, row.lang, row.task, row.gen, row.type, row.path) == columns


def test_tags_are_of_the_vocabulary():
    for row in load_collection().every:
        assert set(row.lang.split("/")) <= LANGUAGES
        assert set(row.task.split("/")) <= TASKS
        assert set(row.gen.split("/")) <= GENERATIONS


def test_a_later_edition_adds_counts_without_changing_the_published_ones():
    later = {row.title: row.later["nums"] for row in load_collection().rows if "nums" in row.later}
    assert later == {"ShareChat": 1663241, "Auto CoT": 5816, "MOSS": 1583595, "ultrachat": 28247446}
    assert {row.title: row.nums for row in load_collection().additions} == {
        "Chinese-medical": 792099,
        "CSL": 396206,
        "pCLUE": 1200705,
        "news_commentary": 252776,
    }
    assert next(row for row in load_collection().rows if row.title == "COIG").later["title"] == "COIG(FlagInstruct)"


def test_the_nine_sets_sum_to_the_whole():
    assert len(load_collection().cot) == 9
    assert sum(part.nums for part in load_collection().cot) == 74771


def test_names_are_kebab_case_and_no_alias_is_claimed_twice():
    claimed: dict[str, str] = {}
    names = [item.name for item in datasets()]
    assert len(set(names)) == len(names)
    for item in datasets():
        assert item.name == item.name.lower()
        assert not set(item.name) & set(" _/+:@")
        for alias in item.aliases:
            assert claimed.setdefault(alias, item.name) == item.name, f"{alias} means {claimed[alias]} and {item.name}"
            assert alias not in names or alias == item.name


@given(st.sampled_from([item.name for item in datasets()]))
def test_no_set_states_the_most_permissive_of_several_licences(name):
    item = next(item for item in datasets() if item.name == name)
    parts = {licence for row in load_collection().every if row.name == name for licence in row.licences.values()}
    parts |= {
        licence
        for mix in load_collection().mixes
        if mix.name == name
        for part in mix.parts
        for licence in _licences(part)
    }
    if len(parts) > 1:
        assert item.licence.split(" AND ") == sorted(parts, key=lambda part: (part == "unknown", part))


def test_terms_of_services_are_those_of_every_part_too():
    terms = {item.name: item.generator for item in datasets()}
    for name in ("alpaca", "gpt4all", "belle-cn", "instruct", "baize", "alpaca-cot", "alpaca-belle-cot"):
        assert terms[name] == ("openai-terms-of-use",), name
    for name in ("dolly-2.0", "xp3", "gaokao", "cot"):
        assert terms[name] == (), name


def _licences(part):
    return next(row for row in load_collection().every if row.name == part).licences.values()


def test_citations_are_given_for_what_they_cite():
    by_name = {item.name: item for item in datasets()}
    assert "@misc{alpaca-cot," in by_name["dolly-2.0"].citation
    assert "Qingyi Si, Rui Liu, Zheng Lin" in by_name["dolly-2.0"].citation
    assert "@misc{alpaca," in by_name["alpaca"].citation
    assert "@misc{selfinstruct," in by_name["alpaca"].citation
    assert "@inproceedings{weifinetuned," in by_name["cot"].citation
    assert all("@misc{BELLE," in by_name[name].citation for name in by_name if name.startswith("belle"))
    mixed = by_name["alpaca-belle-cot"].citation
    assert all(mixed.count(key) == 1 for key in ("@misc{alpaca,", "@inproceedings{weifinetuned,"))
