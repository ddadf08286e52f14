"""Events of a job as sentences for people.

Knows the events' fields. Knows nothing of terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def preflight_lines(event: Mapping[str, Any]) -> Iterator[str]:
    """The preflight: memory, time and disk that a run will take, measured before its first step."""
    if "peak_memory" in event:
        yield (
            f"Pre-flight: the longest rows ({event['longest']:,} tokens) take {_bytes(event['peak_memory'])} of "
            f"{_bytes(event['free_memory'])} of memory and {_seconds(event['worst_step_seconds'])} a step. An average "
            f"step takes about {_seconds(event['step_seconds'])}, all {event['steps']:,} of them "
            f"{_seconds(event['eta'])}."
        )
    yield (
        f"  {event['total_tokens']:,} tokens will go through the model in {_passes(event['passes'])}, "
        f"{event['trained_tokens']:,} of them trained. Global batch: {event['batch_size']} rows × "
        f"{event['accumulation']} accumulated × {event['processes']} process{'es' * (event['processes'] > 1)} = "
        f"{event['global_batch']}."
    )
    yield (
        f"  A checkpoint takes {_bytes(event['checkpoint_bytes'])}; at most {_bytes(event['disk_bytes'])} are needed "
        f"on the disk, and {_bytes(event['free_disk'])} are free."
    )
    yield from (f"  {note}" for note in event["notes"])


def _passes(count: float) -> str:
    return "1 pass" if count == 1 else f"{count:g} passes"


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def _seconds(count: float) -> str:
    """Two significant figures: 0.31 s, 12 s, 3 min 20 s, 5 h 12 min."""
    if count < 60:
        return f"{count:.2g} s" if count < 10 else f"{count:.0f} s"
    minutes, seconds = divmod(round(count), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
