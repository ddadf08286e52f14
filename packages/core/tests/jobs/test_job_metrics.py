"""Numbers for a monitor: what is in the tables, in a text that Prometheus reads."""

from __future__ import annotations

import re

from camelid_core.events import EventLog
from camelid_core.job_metrics import job_metrics
from camelid_core.jobs.job import JobState
from camelid_core.jobs.presence import WorkerPresence
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.machines.machine import MachineDescription, add_machine, note_machine
from camelid_core.prometheus_text import MetricFamily, metrics_text

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[n"\\])*",?)+)\})? (\S+)')


def read(text: str) -> dict[str, float]:
    """Each line has the format that Prometheus documents, and comes once, below the type of its metric."""
    found: dict[str, float] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# "):
            name = line.split()[2]
            continue
        parts = LINE.fullmatch(line)
        assert parts, line
        assert parts[1].removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") == name
        key = line.rpartition(" ")[0]
        assert key not in found
        found[key] = float(parts[3])
    return found


def test_labels_are_escaped():
    family = MetricFamily("x", "Help.\nMore.")
    family.add(1, name='a"b\\c\nd')
    text = metrics_text([family])
    assert text == '# HELP x Help.\\nMore.\n# TYPE x gauge\nx{name="a\\"b\\\\c\\nd"} 1\n'
    assert read(text)


def test_a_histogram_counts_up_to_each_bound():
    family = MetricFamily("x", "Help.", "histogram")
    family.add_histogram([0.5, 1, 3], (1, 2), task="t")
    assert read(metrics_text([family])) == {
        'x_bucket{task="t",le="1"}': 2, 'x_bucket{task="t",le="2"}': 2, 'x_bucket{task="t",le="+Inf"}': 3,
        'x_sum{task="t"}': 4.5, 'x_count{task="t"}': 3,
    }  # fmt: skip


def test_an_empty_table_has_numbers_too(store):
    found = read(job_metrics(store))
    assert found['camelid_jobs{state="queued"}'] == found["camelid_oldest_waiting_seconds"] == 0


def test_every_state_end_worker_and_machine_is_counted(store, home):
    first = store.submit("tick", {})
    store.submit("tick", {}, depends_on=[first.id])
    store.submit("tick", {}, earliest=store.clock.wall() + 3600)
    assert 0 < read(job_metrics(store))["camelid_oldest_waiting_seconds"] < 600
    job = store.start(store.claim("w", 30))
    log = EventLog(_made(attempt_directory(home, job.id, job.epoch)) / EVENTS)
    log.emit("progress", done=1, total=4, eta=9.5)
    log.close()
    lost = store.start(store.claim("w", 30, only=store.submit("tock", {}).id))
    store.mark_lost(lost)
    ended = store.start(store.claim("w", 30, only=store.submit("tock", {}).id))
    store.finish(ended, JobState.FAILED)
    add_machine(store, "gpu-1")
    add_machine(store, "gpu-2")
    note_machine(store, "gpu-1", MachineDescription())
    with WorkerPresence(store, "me"):
        found = read(job_metrics(store))
    labels = '{job="1",task="tick",name="tick-1"}'
    expected = {
        'camelid_jobs{state="queued"}': 2, 'camelid_jobs{state="running"}': 1, 'camelid_jobs{state="lost"}': 1,
        'camelid_jobs{state="failed"}': 1, 'camelid_jobs{state="succeeded"}': 0, "camelid_job_attempts": 3,
        "camelid_job_attempts_lost": 1, "camelid_oldest_waiting_seconds": 0, "camelid_workers": 1,
        'camelid_machine_up{machine="gpu-1"}': 1, 'camelid_machine_up{machine="gpu-2"}': 0,
        'camelid_job_seconds_count{task="tock",state="failed"}': 1,
        f"camelid_job_progress_ratio{labels}": 0.25, f"camelid_job_eta_seconds{labels}": 9.5,
    }  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected


def _made(directory):
    directory.mkdir(parents=True)
    return directory
