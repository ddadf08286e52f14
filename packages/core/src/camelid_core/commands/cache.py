"""`camelid cache list|prune`: the token cache, tokenised examples on disk."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import typer

from camelid_core.errors import UsageError
from camelid_core.token_cache import CacheEntry, TokenCache

from .output import print_rows

app = typer.Typer(help="List and prune tokenised examples.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_DAYS_BY_UNIT = {"h": 1 / 24, "d": 1, "w": 7}
_BYTES_BY_UNIT = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@app.command("list")
def list_entries(as_json: Json = False) -> None:
    """What is cached: of which data, under which template and tokenizer, how large, when last used."""
    entries = TokenCache().entries()
    print_rows([_row(entry, as_json) for entry in entries], as_json, empty="The token cache is empty.")


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(help="Delete what was not used for this long: 30d, 12h, 2w.")] = "",
    keep: Annotated[str, typer.Option(help="Then delete the least recently used until this much is left: 10GB.")] = "",
    dry_run: Annotated[bool, typer.Option(help="Delete nothing; say how much it would be.")] = False,
    as_json: Json = False,
) -> None:
    """Delete tokenised examples. They are made again when needed; what a running job uses stays."""
    if not older_than and not keep:
        raise UsageError("say what to delete: --older-than 30d, --keep 10GB, or --keep 0GB for everything.")
    days = _parse_quantity(older_than, _DAYS_BY_UNIT, "--older-than", "30d") if older_than else None
    size = int(_parse_quantity(keep, _BYTES_BY_UNIT, "--keep", "10GB")) if keep else None
    freed = TokenCache().prune(days, size, dry_run=dry_run)
    if as_json:
        print_rows([{"freed": freed, "dry_run": dry_run}], True)
    else:
        typer.echo(f"{_size(freed)} {'would be' if dry_run else 'were'} freed.")


def _row(entry: CacheEntry, as_json: bool) -> dict[str, Any]:
    used: Any = datetime.fromtimestamp(entry.used).astimezone()
    return {
        "data": list(entry.sources),
        "template": entry.template,
        "tokenizer": entry.tokenizer,
        "rows": entry.rows,
        "tokens": entry.tokens,
        **({"bytes": entry.bytes, "key": entry.key} if as_json else {"size": _size(entry.bytes)}),
        "used": used.isoformat(timespec="seconds") if as_json else used.strftime("%Y-%m-%d %H:%M"),
    }


def _parse_quantity(text: str, units: dict[str, float] | dict[str, int], option: str, example: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    known = {unit.lower(): factor for unit, factor in units.items()}
    if match is None or match[2].lower() not in known:
        raise UsageError(f"{option} {text!r}: write a number and one of {', '.join(units)}, for example {example}.")
    return float(match[1]) * known[match[2].lower()]


def _size(count: int) -> str:
    unit = next((unit for unit, factor in reversed(_BYTES_BY_UNIT.items()) if count >= factor), "B")
    return f"{count / _BYTES_BY_UNIT[unit]:.1f} {unit}" if unit != "B" else f"{count} B"
