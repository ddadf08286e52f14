"""Arguments of Stanford Alpaca's and open-instruct's `weight_diff.py` → a `camelid diff` command. Opens nothing."""

from __future__ import annotations

from collections.abc import Sequence

from camelid_core.compat.arguments import Flag, parse
from camelid_core.compat.command_lines import CommandLine
from camelid_core.errors import UsageError

_FLAGS: tuple[Flag, ...] = (
    ("path_raw", str, "", None),
    ("path_tuned", str, "", None),
    ("path_diff", str, "", None),
    ("original_model", str, "", None),
    ("device", str, "cpu", None),
    ("test_inference", str, "true", None),
    ("check_integrity_naively", str, "true", None),
)
_USED = {"path_raw", "path_tuned", "path_diff"}


def read(arguments: Sequence[str]) -> CommandLine:
    """Raises UsageError: neither `make_diff` nor `recover`, or a path is missing."""
    command, *rest = arguments or ("",)
    if command not in ("make_diff", "recover"):
        raise UsageError(f"weight_diff: {command!r} is no command of it; there are make_diff and recover.")
    flags, unknown, given = parse("weight_diff", _FLAGS, rest)
    for name in sorted(_USED):
        if not getattr(flags, name):
            raise UsageError(f"weight_diff {command}: --{name} is needed.")
    made, base, tuned = (getattr(flags, name) for name in ("path_diff", "path_raw", "path_tuned"))
    words = ["make", base, tuned, "--out", made] if command == "make_diff" else ["recover", made, base, "--out", tuned]
    notes = [f"--{name} has no effect: the CPU suffices, and a hash tells whether the weights are right."
             for name in sorted(given - _USED)]  # fmt: skip
    return CommandLine("weight_diff", ["diff", *words], notes, unknown)
