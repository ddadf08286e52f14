"""A conversation in one column: questions, answers, how each came about, and what can be done with it.

Knows a `ConversationTree` and looks. What a button does is said by its `data-set` and value, and done elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from camelid_ui.conversation_tree import ConversationTree, Turn
from camelid_ui.services.streaming_answers import Answer
from camelid_ui.text import Translator

from . import esc
from .markdown import formatted, markdown, plain
from .numbers import count

_THUMB = (
    '<svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true"><path fill="none" stroke="currentColor" '
    'stroke-width="1.3" stroke-linejoin="round" d="M5 7.2 8 1.8c1 0 1.7.7 1.7 1.7v2.7h3.2c.8 0 1.4.7 1.3 1.5l-.7 '
    '4.6c-.1.7-.7 1.2-1.4 1.2H5M5 7.2v6.3M5 7.2H2v6.3h3"/></svg>'
)


def conversation_column(
    talk: ConversationTree, model: str, say: Translator, running: Sequence[str] = (), can_rate: bool = True
) -> str:
    """The turns shown as `model` knows them; `running` are the models whose answers to the last one are under way;
    `can_rate` says that answers can be called good or bad."""
    path = talk.path
    if not path and not talk.hidden_turns():
        return esc(say("chat.empty"))
    draw = _ConversationRenderer(talk, model, say, running, can_rate)
    turns = "".join(draw.turn(index) for index in path)
    return f'<div class="camelid-turns" role="log" aria-label="{esc(model)}">{turns}{draw.taken_back()}</div>'


class _ConversationRenderer:
    def __init__(
        self, talk: ConversationTree, model: str, say: Translator, running: Sequence[str], can_rate: bool
    ) -> None:
        self._talk, self._model, self._say, self._running, self._judged = talk, model, say, running, can_rate
        self._dead = " disabled" if running else ""
        path = talk.path
        self._formatted = dict(
            zip(path, formatted(talk.turns[each].answer(model)[1].text for each in path), strict=True)
        )

    def turn(self, index: int) -> str:
        turn = self._talk.turns[index]
        last = index == self._talk.at
        whose, answer = turn.answer(self._model)
        pending = last and self._model in self._running
        if pending and self._model not in turn.answers:
            whose, answer = self._model, Answer("")
        return self._question(turn, index) + self._answer(turn, index, whose, answer, pending)

    def taken_back(self) -> str:
        """A way back to what was undone."""
        hidden = 0 if self._running else self._talk.hidden_turns()
        if not hidden:
            return ""
        words = self._say("chat.taken_back")
        return f'<p class="camelid-note back">{esc(words)} {self._deed("redo", self._talk.at)}</p>'

    def _question(self, turn: Turn, index: int) -> str:
        deeds = self._edit() + ("" if turn.answers or self._running else self._deed("retry", index))
        return (
            f'<article class="user" data-deed="edit" data-value="{self._value(index)}">'
            f'<div class="said">{esc(turn.question)}</div>'
            f'{self._editor(turn.question, "chat.ask_again")}<div class="deeds">{deeds}</div></article>'
        )

    def _answer(self, turn: Turn, index: int, whose: str, answer: Answer, pending: bool) -> str:
        if not (turn.answers or pending):
            return ""
        by = "" if whose == self._model else f'<p class="by">{esc(self._say("chat.by", model=whose))}</p>'
        dots = '<i class="dots" role="status"></i>' if pending and not answer.text else ""
        mine = whose == self._model
        return (
            f'<article class="bot" data-deed="reword" data-value="{self._value(index)}">{by}'
            f'<div class="said prose">{self._said(answer.text, index)}{dots}</div>'
            f"{self._editor(answer.text, 'chat.keep') if mine else ''}{footer(answer, self._say)}"
            f'<div class="deeds">{self._deeds(index, answer, mine)}</div></article>'
        )

    def _said(self, text: str, index: int) -> str:
        if self._formatted[index]:
            return markdown(text)
        return f'{plain(text)}<p class="camelid-note">{esc(self._say("chat.unformatted"))}</p>'

    def _deeds(self, index: int, answer: Answer, mine: bool) -> str:
        """What can be done with an answer; only the last one can be gone on with."""
        go_on = mine and answer.unfinished and index == self._talk.at
        parts = [
            self._versions(index),
            self._deed("continue", index) if go_on else "",
            self._deed("retry", index),
            self._edit() if mine else "",
            self._deed("branch", index),
            self._deed("exact", index),
            self._plain("data-copy-said", "copy") if mine else "",
            self._judging(index, answer) if mine and answer.facts and self._judged else "",
        ]
        return "".join(parts)

    def _versions(self, index: int) -> str:
        place, of = self._talk.versions(index)
        if of == 1:
            return ""
        where = f'<span class="which">{place}/{of}</span>'
        return f'<span class="flip">{self._flip(index, -1, place > 1)}{where}{self._flip(index, 1, place < of)}</span>'

    def _flip(self, index: int, by: int, can: bool) -> str:
        name, mark = ("chat.action.before", "‹") if by < 0 else ("chat.action.after", "›")
        dead = self._dead if can else " disabled"
        return (
            f'<button type="button" data-set="flip" value="{self._value(index, by)}" '
            f'aria-label="{esc(self._say(name))}"{dead}>{mark}</button>'
        )

    def _judging(self, index: int, answer: Answer) -> str:
        better = self._deed("better", index) if self._talk.other_answers(index, self._model) else ""
        return self._thumb(index, answer, 1) + self._thumb(index, answer, -1) + better

    def _thumb(self, index: int, answer: Answer, rating: int) -> str:
        label = esc(self._say("chat.action.good" if rating > 0 else "chat.action.bad"))
        given = answer.rating == rating
        value = self._value(index, 0 if given else rating)
        return (
            f'<button type="button" class="thumb{"" if rating > 0 else " down"}" data-set="rate" value="{value}" '
            f'aria-label="{label}" title="{label}" aria-pressed="{str(given).lower()}"{self._dead}>{_THUMB}</button>'
        )

    def _deed(self, name: str, index: int) -> str:
        words = esc(self._say(f"chat.action.{name}"))
        return f'<button type="button" data-set="{name}" value="{self._value(index)}"{self._dead}>{words}</button>'

    def _value(self, index: int, to: Any = None) -> str:
        """What a button says of itself; the script adds the text where one was edited."""
        return esc(json.dumps({"at": index, "by": self._model, "to": to}))

    def _edit(self) -> str:
        return self._plain("data-edit", "edit")

    def _plain(self, mark: str, name: str) -> str:
        """What the page's script does."""
        return f'<button type="button" {mark}{self._dead}>{esc(self._say(f"chat.action.{name}"))}</button>'

    def _editor(self, text: str, deed: str) -> str:
        """The text as it was said, to change or to copy; shown when it is asked for."""
        save, cancel, label = (esc(self._say(key)) for key in (deed, "chat.cancel", "chat.action.edit"))
        return (
            f'<div class="editor" hidden><textarea rows="4" aria-label="{label}">\n{esc(text)}</textarea>'
            f'<button type="button" class="save" data-save{self._dead}>{save}</button>'
            f'<button type="button" data-cancel>{cancel}</button></div>'
        )


def footer(answer: Answer, say: Translator) -> str:
    """How an answer came about, in words."""
    if answer.error:
        return f'<small class="bad">{esc(answer.error)}</small>'
    facts = answer.facts
    if facts is None:
        return f"<small>{esc(say('chat.finish.edited'))}</small>" if answer.edited else ""
    parts = [
        say("chat.tokens" if facts.tokens != 1 else "chat.token", count=count(facts.tokens)),
        *([say("chat.speed", rate=f"{facts.tokens_per_second:.1f}")] if facts.tokens_per_second else []),
        say("chat.first", seconds=f"{facts.first_token:.2f}"),
        say.optional(f"chat.finish.{facts.finish}", facts.finish),
        *([say("chat.finish.edited")] if answer.edited else []),
    ]
    return f"<small>{esc(' · '.join(parts))}</small>"


def context(used: int, limit: int, say: Translator) -> str:
    """How much of what a model can read at once is taken, and what is left for the answer."""
    over, near = used >= limit, used >= 0.8 * limit
    left = max(0, limit - used)
    kind = "over" if over else "near" if near else "fits"
    words = say(f"chat.context.{kind}", used=count(used), limit=count(limit), left=count(left))
    share = 100 * min(1.0, used / limit)
    return (
        f'<div class="camelid-context {kind}"{" role=alert" if over else ""}>'
        f'<div class="camelid-bar"><span style="width:{share:.1f}%"></span></div><span>{esc(words)}</span></div>'
    )
