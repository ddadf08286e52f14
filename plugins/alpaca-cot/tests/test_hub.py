"""From the Hub: at a pinned commit, resumed where it stopped, previewed without fetching; against a real server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from camelid_alpaca_cot import hub as hub_module
from camelid_alpaca_cot import local_files
from camelid_alpaca_cot.catalogue import datasets, missing_files
from camelid_alpaca_cot.collection_table import load_collection
from camelid_core.errors import DataError

FILE = "CodeAlpaca/code_alpaca.json"


@pytest.fixture
def code_alpaca():
    return next(row for row in load_collection().rows if row.name == "code-alpaca")


@pytest.fixture
def pinned(hub, code_alpaca):
    """`pinned(files)` makes a commit that the table's revision means."""
    return lambda files: hub.commit(files, code_alpaca.revision)


def dataset(name):
    return next(item for item in datasets() if item.name == name)


def test_rows_come_from_the_pinned_commit_and_are_kept(hub, pinned, home, alpaca_file):
    commit = pinned({FILE: alpaca_file(3, "old"), "README.md": b"#"})
    hub.commit({FILE: alpaca_file(5, "new")}, "main")
    ours = dataset("code-alpaca")
    assert "camelid datasets fetch code-alpaca" in ours.missing()
    assert [record.messages[0].content for record in ours.load("train", None)] == ["old 1?", "old 2?", "old 3?"]
    assert (ours.missing(), ours.facts()["commit"]) == ("", commit)
    assert (home / "mirror" / FILE).read_bytes() == alpaca_file(3, "old")
    asked = len(hub.requests)
    assert len(list(ours.load("train", 2))) == 2
    assert len(hub.requests) == asked, "what is here is not asked for again"


def test_another_revision_replaces_what_was_fetched(hub, pinned, alpaca_file):
    pinned({FILE: alpaca_file(3, "old")})
    newer = hub.commit({FILE: alpaca_file(4, "new")}, "main")
    ours = dataset("code-alpaca")
    list(ours.load("train", None))
    ours.fetch("main", lambda *_: None)
    assert [record.messages[0].content for record in ours.load("train", 1)] == ["new 1?"]
    assert ours.facts()["commit"] == newer


def test_the_setting_names_another_revision(hub, monkeypatch, alpaca_file):
    hub.commit({FILE: alpaca_file(2, "tagged")}, "v9")
    monkeypatch.setenv("CAMELID_DATA_REVISION", "v9")
    assert [record.messages[0].content for record in dataset("code-alpaca").load("train", 1)] == ["tagged 1?"]


def test_an_interrupted_fetch_goes_on_where_it_stopped(hub, pinned, code_alpaca, home, alpaca_file):
    content = alpaca_file(2000)
    pinned({FILE: content})
    hub.budget = len(content) // 3
    ours = dataset("code-alpaca")
    with pytest.raises(DataError, match="out of reach"):
        hub_module.fetch(code_alpaca)
    assert "0 of 1 files are here already" in ours.missing(), "half a file must not pass for the set"
    assert list(local_files.find(code_alpaca, load_collection().repo)) == []
    hub.budget = None
    hub.ranges.clear()
    seen = []
    assert len(hub_module.fetch(code_alpaca, progress=lambda name, done, total: seen.append((done, total)))) == 1
    last = len(content) - 1
    assert hub.ranges == [f"bytes={len(content) // 3}-{last}"]
    assert hub.served == len(content), "no byte came twice"
    assert seen[-1] == (len(content), len(content))
    assert (home / "mirror" / FILE).read_bytes() == content


def test_a_connection_that_breaks_is_tried_again_as_long_as_it_brings_anything(hub, pinned, code_alpaca, alpaca_file):
    content = alpaca_file(500)
    pinned({FILE: content})
    hub.cut_after = len(content) // 5 + 1
    hub_module.fetch(code_alpaca)
    assert len(hub.ranges) == 5
    assert hub.served == len(content)


def test_a_disk_too_small_is_said_before_anything_comes(hub, pinned, code_alpaca, monkeypatch, alpaca_file):
    pinned({FILE: alpaca_file(50)})
    monkeypatch.setattr(hub_module, "SPARE_DISK_BYTES", 1 << 60)
    with pytest.raises(DataError, match=r"needs 0\.0 GB, and .* has [0-9.]+ GB free"):
        hub_module.fetch(code_alpaca)
    assert hub.ranges == []


def test_a_damaged_file_is_thrown_away(hub, pinned, code_alpaca, home, alpaca_file):
    pinned({FILE: alpaca_file(50)})
    remote = hub_module.listing(code_alpaca).files[0]
    partial = home / "mirror" / ".camelid" / f"{remote.digest}.part"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="came damaged"):
        hub_module.fetch(code_alpaca)
    assert not partial.exists()
    assert len(hub_module.fetch(code_alpaca)) == 1


def test_a_set_of_many_files_is_whole_or_not_there(hub, alpaca_file):
    row = next(row for row in load_collection().rows if row.name == "xp3")
    files = {f"xP3/en/part-{n}.json": alpaca_file(10, f"part {n}") for n in range(3)}
    hub.commit(files | {"xP3/README.md": b"#", "alpaca/other.json": b"[]"}, row.revision)
    ours = dataset("xp3")
    hub.budget = len(files["xP3/en/part-0.json"]) + 40
    with pytest.raises(DataError):
        list(ours.load("train", None))
    hub.budget = None
    assert "1 of 3 files are here already" in ours.missing()
    records = list(ours.load("train", None))
    assert [record.messages[0].content for record in records[::10]] == ["part 0 1?", "part 1 1?", "part 2 1?"]
    assert len({record.id for record in records}) == 30
    assert {record.source for record in records} == {"xp3"}


def test_a_preview_fetches_no_more_than_it_needs(hub, pinned, alpaca_file):
    content = alpaca_file(4000, pad=400)
    pinned({FILE: content})
    ours = dataset("code-alpaca")
    assert [record.messages[0].content for record in ours.load("train", 3)] == ["row 1?", "row 2?", "row 3?"]
    assert hub.served < len(content) / 4
    assert ours.missing(), "a preview keeps nothing"
    assert len(list(ours.load("train", 900))) == 900
    assert hub.served < len(content)


def test_a_preview_goes_on_in_the_next_file(hub, alpaca_file):
    row = next(row for row in load_collection().rows if row.name == "xp3")
    hub.commit({f"xP3/{n}.json": alpaca_file(2, f"part {n}") for n in range(9)}, row.revision)
    found = [record.messages[0].content for record in dataset("xp3").load("train", 3)]
    assert found == ["part 0 1?", "part 0 2?", "part 1 1?"]
    assert len(hub.ranges) == 2


@pytest.mark.parametrize("rows", [1, 5])
def test_a_preview_of_a_small_file_gives_what_there_is(pinned, rows, alpaca_file):
    pinned({FILE: alpaca_file(rows)})
    assert len(list(dataset("code-alpaca").load("train", 5))) == rows


def test_a_preview_names_the_fault_of_a_file_that_is_broken_at_its_beginning(pinned):
    pinned({FILE: b'[{"instruction": 1}]'})
    with pytest.raises(DataError, match="row 1"):
        list(dataset("code-alpaca").load("train", 5))


@pytest.mark.parametrize(("files", "reason"), [({"x.json": b"[]"}, "refused .404."), ({}, "refused .404.")])
def test_what_the_hub_does_not_have_is_said_with_what_to_do(hub, pinned, files, reason):
    if files:
        pinned(files)
    with pytest.raises(DataError, match=reason) as caught:
        list(dataset("code-alpaca").load("train", None))
    assert "take code_alpaca.json from https://" in str(caught.value)


def test_a_file_that_is_not_at_that_commit_is_named(pinned):
    pinned({"CodeAlpaca/renamed.json": b"[]"})
    with pytest.raises(DataError, match="does not have the files of code-alpaca"):
        list(dataset("code-alpaca").load("train", None))


def test_offline_and_out_of_reach_are_told_apart(monkeypatch, hub):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        list(dataset("code-alpaca").load("train", None))
    assert hub.requests == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="out of reach"):
        list(dataset("code-alpaca").load("train", None))


def test_a_mixture_fetches_its_parts(hub, home, alpaca_file):
    revision = load_collection().revision
    hub.commit(
        {"alpaca/alpaca_data_cleaned.json": alpaca_file(1), "Chain-of-Thought/CoT_data.json": alpaca_file(2)}, revision
    )
    mixed = dataset("alpaca-cot")
    assert [path.name for path in mixed.fetch("", lambda *_: None)] == ["alpaca_data_cleaned.json", "CoT_data.json"]
    assert (mixed.missing(), len(list(mixed.load("train", None)))) == ("", 3)


def test_a_row_that_was_never_published_says_where_upstream_is(hub, home):
    row = replace(
        load_collection().rows[0], name="unpublished", path="-", upstream="https://example.org/rows", files=()
    )
    with pytest.raises(DataError) as refused:
        hub_module.fetch(row)
    for said in (missing_files(row), str(refused.value)):
        assert "https://example.org/rows" in said
        assert str(home / "mirror" / "unpublished") in said
    assert hub.requests == []


def test_sets_that_share_files_fetch_them_once_and_take_their_own_rows(hub, home):
    rows = [
        {
            "dataset": name,
            "id": f"{name}_{n}",
            "messages": [{"role": "user", "content": name}, {"role": "assistant", "content": "a"}],
        }
        for n in range(3)
        for name in ("flan_v2", "oasst1", "sharegpt")
    ]
    hub.commit({"data/train-00000.jsonl": "\n".join(map(json.dumps, rows)).encode()}, "main")
    for name in ("flan-v2", "oasst1", "sharegpt"):
        records = list(dataset(name).load("train", None))
        assert [record.messages[0].content for record in records] == [name.replace("-", "_")] * 3
    assert len(hub.ranges) == 1
    assert (home / "mirror" / "allenai" / "tulu-v1-sft-mixture" / "data" / "train-00000.jsonl").is_file()
