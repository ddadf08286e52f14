"""Events that can be read while they are written."""

from __future__ import annotations

import json
import math
import os
import resource

import numpy as np
import pytest
from camelid_core.errors import JobError
from camelid_core.events import EventLog, read_events
from hypothesis import given
from hypothesis import strategies as st

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _finite(value):
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value


@given(st.lists(values, max_size=5))
def test_what_is_emitted_is_read_back_and_numbers_that_json_lacks_become_their_names(tmp_path_factory, given):
    path = tmp_path_factory.mktemp("events") / "events.jsonl"
    log = EventLog(path)
    for value in given:
        log.emit("note", value=value)
    log.close()
    events, offset = read_events(path)
    assert [event["value"] for event in events] == [_finite(value) for value in given]
    assert offset == path.stat().st_size
    assert all(event["kind"] == "note" and event["time"] > 1e9 for event in events)
    for line in path.read_text("utf-8").split("\n")[:-1]:
        json.loads(line, parse_constant=lambda name: 1 / 0)


def test_a_line_still_being_written_is_left_for_the_next_call(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ([], 0)
    path.write_bytes(b'{"kind": "a"}\n{"kind":')
    events, offset = read_events(path)
    assert [event["kind"] for event in events] == ["a"]
    with path.open("ab") as file:
        file.write(b' "b"}\n')
    events, offset = read_events(path, offset)
    assert [event["kind"] for event in events] == ["b"]
    assert read_events(path, offset) == ([], offset)


def test_a_line_torn_by_a_kill_costs_itself_alone(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "a"}\n{"kind": "to{"kind": "torn"}\n{"kind": "b"}\n')
    assert [event["kind"] for event in read_events(path)[0]] == ["a", "b"]


def test_text_that_is_no_unicode_does_not_end_a_run(tmp_path):
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("log", text="file \udcff", loss=np.float64("nan"))
    assert read_events(log.path)[0][0]["text"] == "file \udcff"
    log.close()


def test_a_full_disk_costs_lines_and_says_how_many(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.emit("first")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
    try:
        for _ in range(3):
            log.emit("lost", text="x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log.lost == 3
    log.emit("again")
    log.close()
    assert log.lost == 0
    events, _ = read_events(path)
    assert [event["kind"] for event in events] == ["first", "log", "again"]
    assert events[1]["text"] == "The disk was full: 3 events were lost."


def test_a_device_without_room_never_stops_the_work(tmp_path):
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    log = EventLog(tmp_path / "events.jsonl")
    for _ in range(5):
        log.emit("progress", done=1)
    log.close()
    assert log.lost == 5


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to("elsewhere.jsonl"),
        lambda path: path.symlink_to(path.name),
    ],
    ids=["pipe", "directory", "device", "link", "circle"],
)
def test_what_is_no_file_of_the_run_is_named_and_not_read(tmp_path, make):
    (tmp_path / "elsewhere.jsonl").write_text('{"kind": "secret", "time": 1}\n')
    make(tmp_path / "events.jsonl")
    with pytest.raises(JobError, match=r"events\.jsonl' is (a link|no file)"):
        read_events(tmp_path / "events.jsonl")
