"""The statistics of a dataset as text for people.

Knows widths and bars. Knows nothing of how the numbers are computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BAR = 32
_NAMES = 8
"""Tags, sources and languages named one by one."""


def report(values: Mapping[str, Any]) -> str:
    """The values of `DatasetStats.as_dict()`, and token counts under `tokens`, on one screen."""
    return "\n".join(_lines(values))


def _lines(values: Mapping[str, Any]) -> Iterator[str]:
    rows = values["rows"]
    yield f"{values['dataset']}: {rows:,} rows in {values['seconds']:.1f} s"
    if not rows:
        return
    if values["turns"]:
        yield _line("turns", ", ".join(f"{turns}: {count:,}" for turns, count in _most_common(values["turns"])))
    yield _line("characters", _lengths(values["characters"]))
    if values["turns"]:
        yield _line("answers", _lengths(values["answer_characters"]))
    for name, word in (("with_system", "with system"), ("with_context", "with context"), ("texts", "without turns")):
        if values[name]:
            yield _line(word, f"{values[name]:,} rows ({_share(values[name], rows)})")
    if values["languages"]:
        shares = ((code, f"{share:.1%}") for code, share in _most_common(values["languages"]))
        yield _line("languages", ", ".join(f"{code} {share}" for code, share in shares))
    for name in ("sources", "tags"):
        if len(values[name]) > (name == "sources"):
            yield _line(name, ", ".join(f"{each} {count:,}" for each, count in _most_common(values[name])))
    yield from _histogram("characters of a row", values["characters"]["bins"])
    if "tokens" in values:
        yield from _tokens(values["tokens"], rows)
    yield from _findings(values["lints"], rows)
    yield from (f"note: {note}" for note in values["notes"])


def _findings(lints: Mapping[str, Any], rows: int) -> Iterator[str]:
    if not lints:
        return
    yield ""
    found = {name: lint for name, lint in lints.items() if lint["rows"]}
    for name, lint in sorted(found.items(), key=lambda item: -item[1]["rows"]):
        yield f"{name:<20}{lint['rows']:>10,}  {_share(lint['rows'], rows):>6}"
        yield from _examples(lint["examples"])
    sound = [name for name in lints if name not in found]
    if sound:
        yield f"nothing found by: {', '.join(sound)}"


def _tokens(tokens: Mapping[str, Any], rows: int) -> Iterator[str]:
    facts = ", ".join(f"{name} {tokens[name]:,}" for name in ("median", "p95", "longest"))
    learnt = f"{tokens['trained_tokens']:,} of {tokens['total_tokens']:,} are learnt"
    yield from ("", _line("tokens", f"{facts}; {learnt}"))
    words = {
        "truncated": f"shortened to {tokens['cutoff']:,} tokens",
        "dropped": "left out: no answer within the cut-off",
        "unlabelled": "left out: nothing to train on",
        "refused": "left out: no form in the template",
    }
    if tokens["divided"]:
        words["divided"] = f"longer than {tokens['cutoff']:,} tokens: divided into {tokens['pieces']:,} pieces"
    for name, meaning in words.items():
        yield f"{tokens[name]:>12,} rows ({_share(tokens[name], rows)}) {meaning}"
    yield from _examples(tokens["examples"])
    bins: list[Mapping[str, int]] = [
        {"from": low, "to": high - 1, "rows": count} for low, high, count in tokens["lengths"]
    ]
    yield from _histogram("tokens of a row", bins)


def _examples(examples: list[Mapping[str, Any]]) -> Iterator[str]:
    return (f"    row {example['row']:,}: {example['what']}" for example in examples)


def _histogram(title: str, bins: list[Mapping[str, int]]) -> Iterator[str]:
    first = next((place for place, each in enumerate(bins) if each["rows"]), 0)
    most = max((each["rows"] for each in bins), default=0)
    yield from ("", title)
    for each in bins[first:]:
        bar = "█" * -(-_BAR * each["rows"] // most) if most else ""
        yield f"{each['from']:>10,}–{each['to']:<10,} {each['rows']:>10,}  {bar}".rstrip()


def _lengths(lengths: Mapping[str, Any]) -> str:
    names = ("mean", "p50", "p90", "p99", "longest")
    return ", ".join(f"{name} {lengths[name]:,}" for name in names) + f"; {lengths['total']:,} in all"


def _most_common(counts: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(counts.items(), key=lambda item: -item[1])[:_NAMES]


def _line(name: str, text: str) -> str:
    return f"{name:<14}{text}"


def _share(count: int, rows: int) -> str:
    return f"{count / rows:.1%}"
