"""A conversation in one column as HTML: questions, answers with their statistics, and action buttons.

Knows a `ConversationTree`. A button carries its action in `data-set` and its value; `tabs.chat_actions` performs it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from camelid_ui.conversation_tree import ConversationTree, Turn
from camelid_ui.i18n import Translator
from camelid_ui.services.streaming_answers import Answer

from . import esc
from .markdown import formatted, markdown, plain
from .numbers import count

_THUMB = (
    '<svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true"><path fill="none" stroke="currentColor" '
    'stroke-width="1.3" stroke-linejoin="round" d="M5 7.2 8 1.8c1 0 1.7.7 1.7 1.7v2.7h3.2c.8 0 1.4.7 1.3 1.5l-.7 '
    '4.6c-.1.7-.7 1.2-1.4 1.2H5M5 7.2v6.3M5 7.2H2v6.3h3"/></svg>'
)


def conversation_column(
    tree: ConversationTree, model: str, say: Translator, running: Sequence[str] = (), can_rate: bool = True
) -> str:
    """The turns as `model` answered them; `running` are the models whose answers to the last one are being generated;
    `can_rate` says whether answers get thumbs."""
    path = tree.path
    if not path and not tree.hidden_turns():
        return esc(say("chat.empty"))
    renderer = _ConversationRenderer(tree, model, say, running, can_rate)
    turns = "".join(renderer.turn(index) for index in path)
    return f'<div class="camelid-turns" role="log" aria-label="{esc(model)}">{turns}{renderer.undone()}</div>'


class _ConversationRenderer:
    def __init__(
        self, tree: ConversationTree, model: str, say: Translator, running: Sequence[str], can_rate: bool
    ) -> None:
        self._tree, self._model, self._say, self._running, self._can_rate = tree, model, say, running, can_rate
        self._disabled = " disabled" if running else ""
        path = tree.path
        self._formatted = dict(
            zip(path, formatted(tree.turns[each].answer(model)[1].text for each in path), strict=True)
        )

    def turn(self, index: int) -> str:
        turn = self._tree.turns[index]
        last = index == self._tree.at
        model, answer = turn.answer(self._model)
        pending = last and self._model in self._running
        if pending and self._model not in turn.answers:
            model, answer = self._model, Answer("")
        return self._question(turn, index) + self._answer(turn, index, model, answer, pending)

    def undone(self) -> str:
        """The Redo button for undone turns."""
        hidden = 0 if self._running else self._tree.hidden_turns()
        if not hidden:
            return ""
        words = self._say("chat.taken_back")
        return f'<p class="camelid-note back">{esc(words)} {self._action("redo", self._tree.at)}</p>'

    def _question(self, turn: Turn, index: int) -> str:
        actions = self._edit() + ("" if turn.answers or self._running else self._action("retry", index))
        return (
            f'<article class="user" data-action="edit" data-value="{self._value(index)}">'
            f'<div class="content">{esc(turn.question)}</div>'
            f'{self._editor(turn.question, "chat.ask_again")}<div class="actions">{actions}</div></article>'
        )

    def _answer(self, turn: Turn, index: int, model: str, answer: Answer, pending: bool) -> str:
        if not (turn.answers or pending):
            return ""
        by = "" if model == self._model else f'<p class="by">{esc(self._say("chat.by", model=model))}</p>'
        dots = '<i class="dots" role="status"></i>' if pending and not answer.text else ""
        mine = model == self._model
        return (
            f'<article class="bot" data-action="reword" data-value="{self._value(index)}">{by}'
            f'<div class="content prose">{self._answer_html(answer.text, index)}{dots}</div>'
            f"{self._editor(answer.text, 'chat.keep') if mine else ''}{footer(answer, self._say)}"
            f'<div class="actions">{self._actions(index, answer, mine)}</div></article>'
        )

    def _answer_html(self, text: str, index: int) -> str:
        if self._formatted[index]:
            return markdown(text)
        return f'{plain(text)}<p class="camelid-note">{esc(self._say("chat.unformatted"))}</p>'

    def _actions(self, index: int, answer: Answer, mine: bool) -> str:
        """The action buttons of an answer; only the last answer can be continued."""
        can_continue = mine and answer.unfinished and index == self._tree.at
        parts = [
            self._versions(index),
            self._action("continue", index) if can_continue else "",
            self._action("retry", index),
            self._edit() if mine else "",
            self._action("branch", index),
            self._action("exact", index),
            self._script_button("data-copy-answer", "copy") if mine else "",
            self._rating_buttons(index, answer) if mine and answer.stats and self._can_rate else "",
        ]
        return "".join(parts)

    def _versions(self, index: int) -> str:
        place, of = self._tree.versions(index)
        if of == 1:
            return ""
        where = f'<span class="which">{place}/{of}</span>'
        return f'<span class="flip">{self._flip(index, -1, place > 1)}{where}{self._flip(index, 1, place < of)}</span>'

    def _flip(self, index: int, by: int, can: bool) -> str:
        name, mark = ("chat.action.before", "‹") if by < 0 else ("chat.action.after", "›")
        disabled = self._disabled if can else " disabled"
        return (
            f'<button type="button" data-set="flip" value="{self._value(index, by)}" '
            f'aria-label="{esc(self._say(name))}"{disabled}>{mark}</button>'
        )

    def _rating_buttons(self, index: int, answer: Answer) -> str:
        better = self._action("better", index) if self._tree.other_answers(index, self._model) else ""
        return self._thumb(index, answer, 1) + self._thumb(index, answer, -1) + better

    def _thumb(self, index: int, answer: Answer, rating: int) -> str:
        label = esc(self._say("chat.action.good" if rating > 0 else "chat.action.bad"))
        given = answer.rating == rating
        value = self._value(index, 0 if given else rating)
        return (
            f'<button type="button" class="thumb{"" if rating > 0 else " down"}" data-set="rate" value="{value}" '
            f'aria-label="{label}" title="{label}" aria-pressed="{str(given).lower()}"{self._disabled}>'
            f"{_THUMB}</button>"
        )

    def _action(self, name: str, index: int) -> str:
        words = esc(self._say(f"chat.action.{name}"))
        return f'<button type="button" data-set="{name}" value="{self._value(index)}"{self._disabled}>{words}</button>'

    def _value(self, index: int, to: Any = None) -> str:
        """The value of a button as JSON; the script adds the edited text."""
        return esc(json.dumps({"at": index, "by": self._model, "to": to}))

    def _edit(self) -> str:
        return self._script_button("data-edit", "edit")

    def _script_button(self, mark: str, name: str) -> str:
        """A button that the page's script handles."""
        return f'<button type="button" {mark}{self._disabled}>{esc(self._say(f"chat.action.{name}"))}</button>'

    def _editor(self, text: str, action: str) -> str:
        """The plain text, to edit or to copy; hidden until Edit is pressed."""
        save, cancel, label = (esc(self._say(key)) for key in (action, "chat.cancel", "chat.action.edit"))
        return (
            f'<div class="editor" hidden><textarea rows="4" aria-label="{label}">\n{esc(text)}</textarea>'
            f'<button type="button" class="save" data-save{self._disabled}>{save}</button>'
            f'<button type="button" data-cancel>{cancel}</button></div>'
        )


def footer(answer: Answer, say: Translator) -> str:
    """The statistics of an answer: tokens, speed, time to first token, finish reason."""
    if answer.error:
        return f'<small class="bad">{esc(answer.error)}</small>'
    stats = answer.stats
    if stats is None:
        return f"<small>{esc(say('chat.finish.edited'))}</small>" if answer.edited else ""
    parts = [
        say("chat.tokens" if stats.tokens != 1 else "chat.token", count=count(stats.tokens)),
        *([say("chat.speed", rate=f"{stats.tokens_per_second:.1f}")] if stats.tokens_per_second else []),
        say("chat.first", seconds=f"{stats.first_token:.2f}"),
        say.optional(f"chat.finish.{stats.finish}", stats.finish),
        *([say("chat.finish.edited")] if answer.edited else []),
    ]
    return f"<small>{esc(' · '.join(parts))}</small>"


def context(used: int, limit: int, say: Translator) -> str:
    """The used part of the context length, and what is left for the answer."""
    over, near = used >= limit, used >= 0.8 * limit
    left = max(0, limit - used)
    kind = "over" if over else "near" if near else "fits"
    words = say(f"chat.context.{kind}", used=count(used), limit=count(limit), left=count(left))
    share = 100 * min(1.0, used / limit)
    return (
        f'<div class="camelid-context {kind}"{" role=alert" if over else ""}>'
        f'<div class="camelid-bar"><span style="width:{share:.1f}%"></span></div><span>{esc(words)}</span></div>'
    )
