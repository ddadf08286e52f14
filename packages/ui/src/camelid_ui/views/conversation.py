"""Conversations as bubbles and as tokens. Knows records and token views; knows no model."""

from __future__ import annotations

from collections.abc import Sequence

from camelid_core.records import Message

from camelid_ui.i18n import Translator
from camelid_ui.services.models import TokenView

from . import esc

_SHOWN = 10_000
"""Characters of a text by itself that are shown."""


def bubbles(messages: Sequence[Message], say: Translator) -> str:
    return f'<div class="camelid-bubbles">{"".join(_bubble(message, say) for message in messages)}</div>'


def _bubble(message: Message, say: Translator) -> str:
    context = f'<div class="context">{esc(message.context)}</div>' if message.context else ""
    content = esc(_beginning(message, say)) or f'<span class="nothing">{esc(say("role.nothing"))}</span>'
    return (
        f'<div class="turn {message.role}"><span class="role">{esc(say(f"role.{message.role}"))}</span>'
        f'<div class="content">{content}</div>{context}</div>'
    )


def _beginning(message: Message, say: Translator) -> str:
    """The whole content of a turn; of a text by itself, which may be a book, its beginning."""
    more = len(message.content) - _SHOWN
    if message.role != "text" or more <= 0:
        return message.content
    return f"{message.content[:_SHOWN]}\n{say('role.more', count=more)}"


def tokens(view: TokenView, say: Translator, legend: bool = True, cutoff: int = 0) -> str:
    """The tokens, coloured by the loss mask: trained, ignored or special; tokens beyond a positive `cutoff`
    are struck through."""
    spans, at = [], 0
    for piece in view.spans:
        if 0 < cutoff <= at < cutoff + piece.tokens:
            spans.append(f'<span class="cutmark">{esc(say("tokens.cut", cutoff=cutoff))}</span>')
        struck = " cut" if 0 < cutoff <= at else ""
        spans.append(f'<span class="tok {piece.kind}{struck}"{_title(piece.tokens)}>{_visible(piece.text)}</span>')
        at += piece.tokens
    head = _legend(view, say, cutoff) if legend else ""
    return f'{head}<div class="camelid-tokens" tabindex="0">{"".join(spans)}</div>'


def _legend(view: TokenView, say: Translator, cutoff: int) -> str:
    counts = {
        "trained": view.count("trained"),
        "ignored": view.count("ignored"),
        "special": view.count("special", "special-trained"),
    }
    parts = "".join(
        f'<li><span class="tok {kind}">{esc(say(f"tokens.{kind}"))}</span> <b>{count}</b></li>'
        for kind, count in counts.items()
        if count
    )
    trained = view.count("trained", "special-trained")
    if view.template:
        total = esc(say("tokens.total", total=view.count(), trained=trained, template=view.template))
    else:
        total = esc(say("tokens.text", total=view.count() + view.beyond))
    if view.beyond:
        total += " " + esc(say("tokens.first_piece", count=view.count(), cutoff=cutoff))
    if 0 < cutoff < view.count():
        total += " " + esc(say("tokens.beyond", count=view.count() - cutoff))
    return f'<ul class="camelid-legend">{parts}</ul><p class="camelid-note">{total}</p>'


def _title(count: int) -> str:
    return f' title="{count} tokens"' if count > 1 else ""


def _visible(text: str) -> str:
    """A line break is shown as a sign and as a break; a leading space keeps its width."""
    return esc(text).replace("\n", '<i class="nl">↵</i><br>')
