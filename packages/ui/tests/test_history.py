"""The browser's store of conversations (`static/history.js`), run in Node: bounded, and the newest is never lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright._impl._driver import compute_driver_executable

Run = Callable[..., dict[str, Any]]
BROKEN = {
    "camelid.talk.x": "{not json", "camelid.talk.y": '{"version": 1, "ident": "z"}', "camelid.talk.v": "null",
    "camelid.talk.w": '{"version": 9, "ident": "w", "title": "later", "when": 1, "talk": {"turns": []}}', "theirs": "1",
}  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    node, _ = compute_driver_executable()
    script = Path(__file__).with_name("history_node.js")
    source = files("camelid_ui").joinpath("static", "history.js")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([node, script, str(source)], text=True, **pipes) as node:
        assert node.stdin is not None
        assert node.stdout is not None

        def ask(steps: list[Any], room: int = 100_000, most: int = 200, foreign: dict[str, str] | None = None) -> Any:
            told = {"room": room, "limits": {"most": most, "room": room}, "foreign": foreign or {}, "steps": steps}
            node.stdin.write(json.dumps(told) + "\n")
            node.stdin.flush()
            return json.loads(node.stdout.readline())

        yield ask
        node.stdin.close()


def entry(ident: str, *said: str, title: str = "") -> dict[str, Any]:
    turns = [
        {"question": each, "parent": place - 1, "system": "", "answers": {"tiny": {"text": f"Answer to {each}"}}}
        for place, each in enumerate(said)
    ]
    return {"ident": ident, "title": title or said[0][:20], "talk": {"ident": ident, "turns": turns}}


def grown(told: list[tuple[str, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Conversations as one tab goes on with them."""
    said: dict[str, list[str]] = {}
    for ident, words in told:
        said.setdefault(ident, []).append(words)
        yield ident, entry(ident, *said[ident])


SAID = st.tuples(st.sampled_from("abcdefgh"), st.text(max_size=400))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(told=st.lists(SAID, min_size=1, max_size=25), room=st.integers(900, 4000), most=st.integers(1, 6))
def test_the_list_is_bounded_and_never_loses_the_newest(run, told, room, most):
    steps = [("put", each, now) for now, (_, each) in enumerate(grown(told), 1)]
    answer = run(steps, room, most, BROKEN)
    before: dict[str, Any] = {}
    for (_, given_entry, now), step in zip(steps, answer["said"], strict=True):
        listed = {each["ident"]: each for each in step["all"]}
        assert len(listed) <= most
        assert [each["when"] for each in step["all"]] == sorted((e["when"] for e in step["all"]), reverse=True)
        if step["result"]["kept"]:
            assert listed[given_entry["ident"]]["talk"] == given_entry["talk"]
            gone = before.keys() - listed.keys()
            assert len(gone) == step["result"]["dropped"]
            left = [each["when"] for ident, each in listed.items() if ident in before and ident != given_entry["ident"]]
            assert all(before[ident]["when"] <= min(left, default=now) for ident in gone)  # the oldest went
        else:
            assert listed == before  # it alone is too large for the room that strangers leave
            assert len(json.dumps(given_entry)) > room / 4
        before = listed
    assert set(BROKEN) <= set(answer["keys"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(told=st.lists(SAID, min_size=1, max_size=12), read=st.integers(1, 12), room=st.integers(900, 9000))
def test_what_is_read_from_a_file_takes_nobodys_place(run, told, read, room):
    steps: list[Any] = [("put", each, now) for now, (_, each) in enumerate(grown(told), 1)]
    files = [("put", entry(f"file-{at}", "x" * 80 * at), 100 - at, False) for at in range(read)]
    said = run([*steps, *files], room, 6)["said"]
    before, after = said[len(steps) - 1]["all"], said[-1]["all"]
    theirs = [each for each in after if not each["ident"].startswith("file-")]
    assert theirs == before
    results = [step["result"] for step in said[len(steps) :]]
    assert len(after) - len(before) == sum(each["kept"] for each in results)
    assert all(each["dropped"] == 0 for each in results)


def test_what_is_too_large_for_any_list_empties_none(run):
    said = run([("put", entry("a", "One?"), 1), ("put", entry("b", "x" * 5000), 2)], room=4000)["said"]
    assert said[-1]["result"] == {"kept": False, "dropped": 0}
    assert said[-1]["all"] == said[0]["all"]


def test_a_conversation_that_two_tabs_go_on_with_becomes_two(run):
    there, here = ["One?", "There?"], ["One?", "Here?"]
    steps = [("put", entry("a", "One?"), 1)]
    for turn in range(2, 10):
        (here if turn % 2 else there).append(f"{turn}?")
        steps.append(("put", entry("a", *(here if turn % 2 else there)), turn))
    said = run(steps)["said"]
    for step, (_, put, _) in list(zip(said, steps, strict=True))[2:]:
        turns = [[turn["question"] for turn in each["talk"]["turns"]] for each in step["all"]]
        assert {"One?/There?", "One?/Here?"} == {"/".join(each[:2]) for each in turns}
        assert [turn["question"] for turn in put["talk"]["turns"]] in turns
        assert len(turns) <= 3  # the one on show, and what each of them has gone on with
    assert {"/".join(there), "/".join(here)} <= {
        "/".join(turn["question"] for turn in each["talk"]["turns"]) for each in said[-1]["all"]
    }
    assert all(each["talk"]["ident"] == each["ident"] for each in said[-1]["all"])


def test_nothing_broken_or_foreign_is_listed_and_a_name_is_kept(run):
    steps = [
        ("put", entry("a", "One?"), 1), ("rename", "a", "  Mine "), ("rename", "a", " "), ("rename", "none", "x"),
        ("put", entry("a", "One?", "And two?"), 2), ("put", entry("a", "One?", "And two?"), 3),
        ("remove", "none"), ("remove", "a"),
    ]  # fmt: skip
    said = run(steps, foreign=BROKEN)["said"]
    assert [each["title"] for each in said[5]["all"]] == ["Mine"]
    assert said[5]["all"][0]["when"] == 2  # looking at it makes it no newer
    assert said[-1]["all"] == []


def test_search_goes_over_all_that_was_said_and_over_nothing_else(run):
    entries = [entry("a", "What is a Llama?", title="Mine"), entry("b", "怎么专注？"), entry("c", "Add 2 and 3")]
    every = ["a", "b", "c"]
    queries = {"llama WHAT": ["a"], "mine": ["a"], "专注": ["b"], "answer": every, "turns": [], "": every}
    steps = [("put", each, 9 - now) for now, each in enumerate(entries)]
    listed = run([*steps, ("all",)])["said"][-1]["result"]
    for query, found in queries.items():
        assert [each["ident"] for each in run([("find_in", listed, query)])["said"][0]["result"]] == found


def test_a_turn_that_was_not_begun_is_withdrawn(run):
    steps = [("put", entry("a", "One?"), 1), ("put", entry("a", "One?", "Two?"), 2), ("withdraw", "a")]
    steps += [("put", entry("b", "Else?"), 3), ("withdraw", "b"), ("withdraw", "none")]
    said = run(steps)["said"]
    assert [[turn["question"] for turn in each["talk"]["turns"]] for each in said[-1]["all"]] == [["One?"]]
    assert said[-1]["all"][0]["talk"]["at"] == 0
