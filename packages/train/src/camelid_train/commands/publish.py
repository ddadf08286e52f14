"""`camelid publish ARTEFACT… --to TARGET`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from camelid_core.commands.output import ProgressPrinter
from camelid_core.config import validate
from camelid_core.errors import JobStopped

from camelid_train.publishing.publish_config import THE_HUB, PublishConfig

if TYPE_CHECKING:
    from camelid_train.publishing.publish_plan import BranchPlan, PublishPlan

app = typer.Typer(help="Publish artefacts to the Hub or to a local hub.")


def _option(field: str) -> Any:
    return typer.Option(help=PublishConfig.model_fields[field].description)


@app.command()
def publish(
    artefacts: Annotated[
        list[str], typer.Argument(help="Names or directories of artefacts; those of one run together.")
    ],
    to: Annotated[str, _option("to")] = "",
    name: Annotated[str, _option("name")] = "",
    branch: Annotated[str, _option("branch")] = "",
    public: Annotated[bool, typer.Option("--public/--private", help="Whether everybody sees it on the Hub.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every file and byte, and publish nothing.")] = False,
    show_card: Annotated[bool, typer.Option("--card", help="With --dry-run: show the cards too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything leaves for the Hub.")] = False,
    override_proof: Annotated[str, _option("override_proof")] = "",
    title: Annotated[str, _option("title")] = "",
    creator: Annotated[str, _option("creator")] = "",
    quantized_by: Annotated[str, _option("quantized_by")] = "",
    header: Annotated[str, _option("header")] = "",
    footer: Annotated[str, _option("footer")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Publish artefacts: a repository for each kind, a branch for each GPTQ recipe, with cards that link to each other.

    Files, bytes and licences are shown first. Paths of this machine, secrets and training rows never leave.
    """
    values = {
        "artefacts": artefacts, "to": to, "name": name, "branch": branch, "public": public,
        "override_proof": override_proof, "title": title, "creator": creator, "quantized_by": quantized_by,
        "header": header, "footer": footer,
    }  # fmt: skip
    config = validate(PublishConfig, values, "the options").with_absolute_paths()
    from camelid_train.publishing.publication import plan
    from camelid_train.publishing.publication import publish as carry_out
    from camelid_train.publishing.target_choice import open_target

    target = open_target(config.to, config.public)
    planned = plan(config, target)
    if dry_run:
        _show(planned, as_json, show_card)
        return
    for line in (*planned.licence, *(f"Warning: {text}" for text in planned.warnings)):
        typer.echo(line, err=True)
    _ask(planned, yes)
    printer = ProgressPrinter()
    try:
        summary = carry_out(planned, target, lambda done, total, what: _progress(printer, done, total, what))
    except KeyboardInterrupt:
        raise JobStopped("stopped; the branches that were written are whole, and the same command goes on.") from None
    finally:
        printer.close()
    if as_json:
        typer.echo(json.dumps(summary, ensure_ascii=False))
        return
    for where, commit in summary["branches"].items():
        typer.echo(f"{where}  {commit}")
    for line in summary["load"]:
        typer.echo(line)


def _ask(planned: PublishPlan, yes: bool) -> None:
    """A person is asked before anything leaves this machine; a local hub is on it."""
    if planned.to != THE_HUB or yes or not sys.stdin.isatty():
        return
    who = "everybody" if planned.public else "you alone"
    where = ", ".join(planned.repositories)
    if not typer.confirm(f"Publish {planned.size:,} bytes to {where}, seen by {who} if it is new?", err=True):
        raise JobStopped("nothing was published.")


def _progress(printer: ProgressPrinter, done: int, total: int, what: str) -> None:
    printer({"kind": "progress", "time": time.time(), "done": done, "total": total, "unit": f"bytes · {what}"})


def _show(planned: PublishPlan, as_json: bool, cards: bool) -> None:
    if as_json:
        more = {"cards": dict(_cards(planned))} if cards else {}
        typer.echo(json.dumps({**planned.as_values(), **more}, ensure_ascii=False))
        return
    for each in planned.branches:
        for line in _lines(each):
            typer.echo(line)
    for line in (f"{planned.size:,} bytes in all. Nothing was published.", "", *planned.licence):
        typer.echo(line)
    for text in planned.warnings:
        typer.echo(f"Warning: {text}")
    for name, card in _cards(planned) if cards else ():
        typer.echo(f"\n=== {name}: README.md\n{card}")


def _cards(planned: PublishPlan) -> Iterator[tuple[str, str]]:
    yield from {each.repository: each.card for each in planned.branches}.items()


def _lines(each: BranchPlan) -> Iterator[str]:
    yield f"{each.repository}:{each.branch}" + (" (other files stay as they are)" if each.keep_others else "")
    for file in each.files:
        yield f"  {file.size:>15,}  {file.sha256}  {file.name}" + (f" ({file.changed})" if file.changed else "")
    for left in each.left_out:
        yield f"  stays here: {left.name} ({left.why})"
