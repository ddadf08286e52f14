"""Events of jobs as sentences."""

from __future__ import annotations

import pytest
from camelid_core.commands.event_messages import preflight_lines

EVENT = {
    "total_tokens": 31633, "trained_tokens": 13315, "passes": 1.0, "steps": 80, "batch_size": 4, "accumulation": 2,
    "processes": 2, "global_batch": 16, "checkpoint_bytes": 58_600_000, "disk_bytes": 195_400_000,
    "free_disk": 64_270_000_000, "notes": ["train.batch_size=8 train.accumulation=1 would use the memory better."],
}  # fmt: skip
MEASURED = {"peak_memory": 2_160_000_000, "free_memory": 20_830_000_000, "longest": 126, "worst_step_seconds": 0.312}


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.21, "4.2 s"), (12.4, "12 s"), (200.0, "3 min 20 s"), (18720.0, "5 h 12 min")]
)
def test_what_a_run_will_take(seconds, words):
    first, second, third, note = preflight_lines(EVENT | MEASURED | {"step_seconds": 0.25, "eta": seconds})
    assert first == (
        "Pre-flight: the longest rows (126 tokens) take 2.16 GB of 20.83 GB of memory and 0.31 s a step. An average "
        f"step takes about 0.25 s, all 80 of them {words}."
    )
    assert second == (
        "  31,633 tokens will go through the model in 1 pass, 13,315 of them trained. Global batch: 4 rows × "
        "2 accumulated × 2 processes = 16."
    )
    assert third == "  A checkpoint takes 58.6 MB; at most 0.20 GB are needed on the disk, and 64.27 GB are free."
    assert note == "  train.batch_size=8 train.accumulation=1 would use the memory better."


def test_what_was_not_measured_is_not_told():
    assert len(list(preflight_lines(EVENT))) == 3
