"""The flags of another tool's script, parsed as its own parser did.

Knows names, types and defaults as data. Knows nothing of what they mean in Camelid.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from camelid_core.errors import UsageError

Flag = tuple[str, type, Any, str | None]
"""Name, type, default, number of values (`nargs`)."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}.")


def parse(tool: str, flags: Sequence[Flag], arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str], set[str]]:
    """The values, the unknown flags that were ignored, and the names of the flags that were given.

    Both `--local_rank` and `--local-rank` are accepted, and `---model_type`, which a manual had.

    Raises:
        UsageError: a flag without its value, or with one that does not fit.
    """
    words = [_normalized_flag(word) for word in arguments]
    parser = _Parser(prog=tool, add_help=False, allow_abbrev=False)
    for name, kind, default, count in flags:
        parser.add_argument(
            f"--{name}", type=kind, default=default, nargs=count, const="true" if count == "?" else None
        )
    values, unknown = parser.parse_known_args(words)
    given = {name for name, *_ in flags for word in words if word.partition("=")[0] == f"--{name}"}
    return values, unknown, given


def _normalized_flag(word: str) -> str:
    if not re.match(r"-{2,}[A-Za-z]", word):
        return word
    name, equals, value = word.lstrip("-").partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"
