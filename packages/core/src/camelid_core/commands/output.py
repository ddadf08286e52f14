"""Output of commands: tables for people, JSON for programs, progress for jobs.

Knows terminals. Knows nothing of what is printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from .event_messages import preflight_lines


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool, empty: str = "Nothing to list.") -> None:
    """A listing: one JSON array with `--json`, else aligned columns."""
    if as_json:
        typer.echo(json.dumps(list(rows), ensure_ascii=False, indent=2))
        return
    if not rows:
        typer.echo(empty)
        return
    table = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(_width(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def print_values(values: Mapping[str, Any], as_json: bool) -> None:
    """One item and its fields: a JSON object with `--json`, else a line for each field that is not empty."""
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False, indent=2))
        return
    present = {name: value for name, value in values.items() if value not in ("", [], {})}
    width = max(map(len, present), default=0)
    for name, value in present.items():
        items = value if isinstance(value, list) and not all(isinstance(item, str) for item in value) else [value]
        for item in items:
            typer.echo(f"{name.replace('_', ' '):<{width}}  {_value_text(item)}".rstrip())


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        if not all(isinstance(count, int | float) for count in value.values()):
            return json.dumps(value, ensure_ascii=False)
        return ", ".join(f"{count:,} {kind}" for kind, count in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _cell(value)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two."""
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


class ProgressPrinter:
    """Shows a job's events: a progress bar on a terminal, plain lines elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._last = 0.0
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        if self.quiet:
            return
        if event["kind"] == "progress":
            self._progress(event)
        elif event["kind"] == "log" or (event["kind"] == "stop" and event["reason"] != "nan"):  # that is the error
            self._line(str(event.get("text", "")))
        elif event["kind"] == "data":
            for line in _data_lines(event):
                self._line(line)
        elif event["kind"] == "preflight":
            for line in preflight_lines(event):
                self._line(line)
        elif event["kind"] == "sample":
            self._line(f"step {event['step']}: {_first_line(event['prompt'])} → {_first_line(event['answer'])}")
        elif event["kind"] in ("train", "eval", "model"):
            shown = (f"{name}={_short(value)}" for name, value in event.items() if name not in _HIDDEN_FIELDS)
            self._line("  ".join([event["kind"], *shown]))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            typer.echo(text, err=True)

    def _progress(self, event: Mapping[str, Any]) -> None:
        if sys.stderr.isatty():
            self._draw(event)
        elif event["time"] - self._last >= 5 or event["done"] == event["total"]:
            self._last = event["time"]
            rate = f", {event['tokens_per_second']} tokens/s" if "tokens_per_second" in event else ""
            left = f", {event['eta']:.0f} s left" if event.get("eta") is not None else ""
            typer.echo(f"{event['done']}/{event['total']} {event.get('unit', '')}{rate}{left}", err=True)

    def _draw(self, event: Mapping[str, Any]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        if self._bar is None:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("")
        rate = f"{event['tokens_per_second']:g} tokens/s · " if "tokens_per_second" in event else ""
        left = f"{event['eta']:.0f} s left" if event.get("eta") is not None else ""
        text = f"{event.get('unit', '')} · {rate}{left}"
        self._bar.update(self._task, completed=event["done"], total=event["total"], description=text)


def _data_lines(event: Mapping[str, Any]) -> Iterator[str]:
    """How many rows were kept, left out and held out, before anything is trained on them."""
    yield (
        f"{event['rows']:,} rows: {event['kept']:,} kept ({event['truncated']:,} of them shortened to the cut-off), "
        f"{event['dropped']:,} left out because no answer is left of them; {event['heldout']:,} more are held out. "
        f"{event['trained_tokens']:,} of {event['total_tokens']:,} tokens are trained."
    )
    for source in event.get("sources", ()):
        why = "" if source["left out"] == "–" else f" (left out: {source['left out']})"
        yield f"  {source['source']}: {source['after']:,} of {source['before']:,} rows{why}"


_HIDDEN_FIELDS = ("kind", "time", "memory", "tokens_per_second", "mfu")
"""Fields not shown in lines about a step: progress shows the rate, and the others are for plots."""
_SAMPLE_CHARACTERS = 70


def _first_line(text: Any) -> str:
    """The first line of a text, shortened."""
    whole = str(text).strip()
    line = whole.partition("\n")[0][:_SAMPLE_CHARACTERS]
    return line if line == whole else f"{line} …"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
