"""Every name of the original resolves to rows from a mirror, or says what to fetch and where to put it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from camelid_alpaca_cot import cot
from camelid_alpaca_cot.catalogue import datasets
from camelid_alpaca_cot.collection_table import load_collection
from camelid_alpaca_cot.local_files import mirrors
from camelid_core.datasets.sources import open_dataset, parse_sources
from camelid_core.errors import DataError, UsageError
from camelid_core.plugins import load_host

ORIGINAL = {
    "alpaca": "alpaca_data_cleaned.json",
    "belle": "belle_data_cn.json",
    "alpaca-belle": "alpaca_plus_belle_data.json",
    "cot": "CoT_data.json",
    "alpaca-cot": "alcapa_plus_cot.json",
    "alpaca-belle-cot": "alcapa_plus_belle_plus_cot.json",
    "belle1.5m": "belle_data1.5M_cn.json",
    "finance": "finance_en.json",
    "multiturn_chat": "multiturn_chat_0.8M.json",
    "CoT_Chinese_data": "CoT_Chinese_data.json",
    "gpt4all": "gpt4all.json",
    "belle-chat": "multiturn_chat_0.8M.json",
    "belle-math": "school_math_0.25M.json",
    "instinwild-cn": "instinwild_ch.json",
}
PLACES = {
    "alpaca": "alpaca/alpaca_data_cleaned.json",
    "belle": "belle_cn/belle_instructions/belle_data0.5M_cn.json",
    "alpaca-cot": "combination/alcapa_plus_cot.json",
    "cot": "Chain-of-Thought/CoT_data.json",
    "belle1.5m": "combination/belle_data1.5M_cn.json",
    "finance": "finance/finance_en.json",
    "gpt4all": "GPT4all/gpt4all.json",
    "belle-chat": "belle_cn/multiturn_chat_0.8M.json",
    "belle-math": "belle_cn/school_math_0.25M.json",
    "instinwild-cn": "instinwild/instinwild_ch.json",
}


def opened(name):
    return open_dataset(name, load_host().datasets)


def instructions(name):
    return [record.messages[0].content for record in opened(name).load("train", None)]


def put(directory, name, content):
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("name", "file"), ORIGINAL.items())
def test_a_name_says_what_to_fetch_and_its_file_name_means_the_same(name, file, home):
    dataset = opened(name)
    missing = dataset.missing()
    assert "camelid datasets fetch" in missing
    assert str(home / "mirror") in missing
    assert opened(f"./data/{file}").name == dataset.name
    with pytest.raises(DataError, match="is not on this machine"):
        list(dataset.load("train", None))


@pytest.mark.parametrize(("name", "file"), ORIGINAL.items())
def test_the_originals_flat_directory_is_accepted(name, file, mirror, alpaca_file):
    put(mirror, file, alpaca_file(3, name))
    assert opened(name).missing() == ""
    assert instructions(name) == [f"{name} {n}?" for n in (1, 2, 3)]


@pytest.mark.parametrize(("name", "place"), PLACES.items())
def test_a_mirror_of_the_hub_is_accepted(name, place, mirror, alpaca_file):
    put(mirror, place, alpaca_file(2, name))
    assert instructions(name) == [f"{name} 1?", f"{name} 2?"]


@pytest.mark.parametrize("row", load_collection().every, ids=lambda row: row.name)
def test_every_row_is_read_from_its_place_in_a_mirror(row, mirror, alpaca_file):
    if row.keep or row.fields:
        return  # their rows look otherwise; the tests of `fields` and `keep` have them
    top = mirror / (row.directory if row.published else row.name)
    names = row.files if row.exact else ("a.json", "deep/b.jsonl")
    for name in names:
        lines = name.endswith(".jsonl")
        content = b'{"instruction": "row 1?", "input": "", "output": "answer"}\n' if lines else alpaca_file(1)
        put(top, name, content)
    for pattern in row.skip:
        put(top, pattern.replace("*", "x"), b"not to be read")
    records = list(opened(row.name).load("train", None))
    assert [record.messages[0].content for record in records] == ["row 1?"] * len(names)
    assert {record.source for record in records} == {row.name}


def test_our_own_mirror_directory_serves_what_the_named_one_lacks(mirror, home, alpaca_file):
    put(home / "mirror", "dolly/dolly.json", alpaca_file(1, "ours"))
    assert instructions("dolly-2.0") == ["ours 1?"]
    put(mirror, "dolly/dolly.json", alpaca_file(1, "named"))
    assert instructions("dolly-2.0") == ["named 1?"]


def test_combinations_are_composed_on_the_fly(mirror, alpaca_file):
    for name, place in (("alpaca", PLACES["alpaca"]), ("belle", PLACES["belle"]), ("cot", PLACES["cot"])):
        put(mirror, place, alpaca_file(2, name))
    assert instructions("alpaca-belle-cot") == [f"{name} {n}?" for name in ("alpaca", "belle", "cot") for n in (1, 2)]
    assert len(list(opened("alpaca-belle-cot").load("train", 3))) == 3
    sources = parse_sources(["alpaca+belle:0.5+cot", "alpaca-cot:2"], load_host().datasets)
    assert [(source.name, source.weight) for source in sources] == [
        ("alpaca", 1.0),
        ("belle", 0.5),
        ("cot", 1.0),
        ("alpaca-cot", 2.0),
    ]
    put(mirror, "combination/alcapa_plus_belle_plus_cot.json", alpaca_file(1, "merged"))
    assert instructions("alpaca-belle-cot") == ["merged 1?"], "the original's merged file stands for its parts"


def test_what_a_combination_lacks_is_said_for_each_part(mirror, alpaca_file):
    put(mirror, PLACES["alpaca"], alpaca_file(1))
    missing = opened("alpaca-belle-cot").missing().splitlines()
    assert [line.split()[0] for line in missing] == ["belle", "cot"]


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Chain of Thought", "cot"),
        ("Code Alpaca", "code-alpaca"),
        ("Alpaca_GPT4", "alpaca-gpt4"),
        ("dolly 2.0", "dolly-2.0"),
        ("OIG(part)", "oig"),
        ("COIG(FlagInstruct)", "coig"),
        ("CoT_CN_data.json", "cot-chinese"),
        ("gsm8k_train.tsv", "cot-gsm8k"),
        ("aqua", "cot-aqua"),
    ],
)
def test_other_names_are_understood(alias, name):
    assert opened(alias).name == name


def test_held_out_rows_are_never_rows_to_train_on(mirror, alpaca_file):
    put(mirror, PLACES["alpaca"], alpaca_file(3))
    for name in ("alpaca", "alpaca-cot", "cot", "cot-aqua"):
        assert list(opened(name).load("heldout", None)) == []


def flan(part):
    return "".join(f"{part} {n}?\t{n}\tso {n}\n" for n in range(1, 4)).encode()


def test_a_cot_set_is_phrased_from_flans_file_or_read_as_the_original_has_it(mirror, alpaca_file):
    put(mirror, "formated_cot_data/creak_train.json", alpaca_file(2, "original"))
    assert instructions("cot-creak") == ["original 1?", "original 2?"]
    assert opened("cot-creak").facts()["phrasing"] == "the original's"
    put(mirror, "origin_cot_data/creak_train.tsv", flan("creak"))
    assert "creak 1?" in instructions("cot-creak")[0]
    assert opened("cot-creak").facts()["phrasing"] == "one of several, by seed and row"


def test_the_whole_is_merged_from_the_nine_and_a_wrong_number_is_named(mirror):
    for part in load_collection().cot:
        put(mirror, f"Chain-of-Thought/origin_cot_data/{part.name}_train.tsv", flan(part.name))
    whole = opened("cot")
    assert whole.missing() == ""
    assert len(list(whole.load("train", 25))) == 25
    with pytest.raises(DataError, match=r"should have 74,771 rows: cot-aqua 3 instead of 2,728; .*strategyqa"):
        list(whole.load("train", None))
    nine = {f"cot-{part.name}" for part in load_collection().cot}
    small = [replace(item, rows=3) for item in datasets() if item.name in nine]
    assert len(list(cot.merged(small))) == 27


def test_dialogues_of_the_collection_have_their_turns(mirror):
    said = {"instruction": "Human:Hi\nAssistant:Hello!\nHuman:How are you?\nAssistant:", "input": "", "output": "Fine."}
    put(mirror, "belle_cn/multiturn_chat_0.8M.json", json.dumps([said]).encode())
    record = next(opened("multiturn_chat").load("train", None))
    assert [(message.role, message.content) for message in record.messages] == [
        ("user", "Hi"),
        ("assistant", "Hello!"),
        ("user", "How are you?"),
        ("assistant", "Fine."),
    ]


def test_columns_and_rows_of_their_own_are_understood(mirror):
    curated = (
        '[{"intent": "a", "rewritten_intent": null, "snippet": "x"},'
        ' {"intent": "b", "rewritten_intent": "c", "snippet": "y"}]'
    )
    put(mirror, "neulab/conala/data/conala-paired-train.json", curated.encode())
    records = list(opened("conala").load("train", None))
    assert [(record.messages[0].content, record.answer) for record in records] == [("a", "x"), ("c", "y")]


@pytest.mark.parametrize("named", ["x" * 300, "~nobody-of-that-name/x"])
def test_a_mirror_that_nothing_can_be_called_is_said(monkeypatch, named):
    monkeypatch.setenv("CAMELID_DATA_MIRROR", named)
    with pytest.raises(UsageError, match=r"^CAMELID_DATA_MIRROR '.*' cannot be used: .*\.$"):
        mirrors()
