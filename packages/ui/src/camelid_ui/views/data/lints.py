"""Lint findings as HTML: counts, examples that link to their row, and an action for each.

Knows lints and findings. Choices reach the page through the elements' `data-set`.
"""

from __future__ import annotations

from collections.abc import Mapping

from camelid_core.quality import Lint, RowAccount

from camelid_ui.i18n import Translator
from camelid_ui.services.data.lints import CleanedDataset, LintReport
from camelid_ui.views import esc, note
from camelid_ui.views.numbers import count


def findings(checked: LintReport, actions: Mapping[str, str], say: Translator) -> str:
    rows = checked.found.rows
    scope_note = note(say("lints.all" if checked.exact else "lints.sample", rows=count(rows)))
    sound = [title(name, say) for name in checked.passed]
    if not checked.problems:
        return f'{scope_note}<p class="camelid-good">{esc(say("lints.passed", count=len(sound)))}</p>'
    items = "".join(
        _finding(lint, number, examples, rows, actions.get(lint.name, ""), say)
        for lint, number, examples in checked.problems
    )
    rest = note(say("lints.rest", names=", ".join(sound))) if sound else ""
    return f'{scope_note}<ul class="camelid-findings">{items}</ul>{rest}'


def title(name: str, say: Translator) -> str:
    return say.optional(f"lint.{name}", name)


def _finding(lint: Lint, number: int, examples: list[tuple[int, str]], rows: int, action: str, say: Translator) -> str:
    shown = "".join(
        f'<li><a href="#data-bubbles" data-key="row:{row - 1}">{esc(say("lints.row", row=count(row)))}</a> '
        f"<span>{esc(what)}</span></li>"
        for row, what in examples
    )
    share = f"{100 * number / max(1, rows):.1f} %"
    return (
        f'<li><div class="head"><span class="name" title="{esc(lint.help)}">{esc(title(lint.name, say))}</span>'
        f'<span class="number">{count(number)} <small>{share}</small></span>{_actions(lint, action, say)}</div>'
        f'<ul class="examples">{shown}</ul></li>'
    )


def _actions(lint: Lint, chosen: str, say: Translator) -> str:
    choices = {"": say("lints.keep"), "drop": say("lints.drop")}
    if lint.fix is not None:
        choices["fix"] = say("lints.fix")
    radios = "".join(
        f'<label><input type="radio" name="lint-{esc(lint.name)}" data-set="{esc(lint.name)}" value="{choice}"'
        f"{' checked' if choice == chosen else ''}><span>{esc(word)}</span></label>"
        for choice, word in choices.items()
    )
    label = esc(say("lints.action", lint=title(lint.name, say)))
    return f'<div class="camelid-segments" role="radiogroup" aria-label="{label}">{radios}</div>'


def plan(checked: LintReport, actions: Mapping[str, str], name: str, say: Translator) -> str:
    """The effect of the chosen actions, before anything is written."""
    found = checked.found.findings
    dropped = [name for name, action in actions.items() if action == "drop" and name in found]
    fixed = [name for name, action in actions.items() if action == "fix" and name in found]
    if not dropped and not fixed:
        return note(say("lints.nothing"))
    most = min(checked.found.rows, sum(found[name].rows for name in dropped))
    parts = [say("lints.drops", rows=count(most))] if dropped else []
    parts += [say("lints.fixes", rows=count(sum(found[name].rows for name in fixed)))] if fixed else []
    scope = "lints.plan" if checked.exact else "lints.plan_sample"
    return note(say(scope, what=", ".join(parts), rows=count(checked.found.rows), name=name))


def written(version: CleanedDataset, say: Translator) -> str:
    """Rows before and after, and why the others were dropped."""
    account = version.account
    head = say("lints.written", name=version.entry.name, before=count(account.read), after=count(account.kept))
    return f'<p class="camelid-good" role="status">{esc(head)}</p>{reasons(account, say)}'


def reasons(account: RowAccount, say: Translator) -> str:
    """Why rows were dropped or changed, one line each."""
    lines = [say("lints.left_out", rows=count(rows), why=worded(why, say)) for why, rows in account.dropped.items()]
    lines += [say("lints.was_fixed", rows=count(rows), why=title(why, say)) for why, rows in account.fixed.items()]
    return "".join(note(line) for line in lines)


def worded(why: str, say: Translator) -> str:
    """A reason of the account in words."""
    kind, _, name = why.partition(" ")
    return title(name, say) if kind == "lint" else say.optional(f"reason.{why.replace(' ', '-')}", why)
