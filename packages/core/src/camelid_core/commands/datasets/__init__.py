"""`camelid datasets`: listing, files, quality, and cleaning and mixing, a module each."""

from __future__ import annotations

import typer

from . import clean_mix, files, listing, quality

app = typer.Typer(help="Look at, fetch, convert, clean and mix datasets.", no_args_is_help=True)
for part in (listing, files, quality, clean_mix):
    app.registered_commands += part.app.registered_commands
