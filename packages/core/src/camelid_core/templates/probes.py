"""Probes: the conversations that a chat template is rendered with, to infer its layout and to verify it.

Knows what chat templates are known to treat specially: white space, markup, thinking, control tokens,
dates. Knows no Jinja.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from camelid_core.records import Message

SENTINEL_SYSTEM = "Zq0system0qZ"
ROUNDS = 3


def sentinel_question(number: int) -> str:
    return f"Zq{number}question{number}qZ"


def sentinel_answer(number: int) -> str:
    return f"Zq{number}answer{number}qZ"


class Probe(NamedTuple):
    """A conversation up to its last answer (or its last question, as a prompt); `what` names it in messages."""

    what: str
    messages: tuple[Message, ...]
    prompt: bool


def sentinel_probe(rounds: int, system: bool, prompt: bool) -> Probe:
    """A conversation of sentinels, texts that occur nowhere by chance: where they land is where contents land."""
    turns = [Message("system", SENTINEL_SYSTEM)] if system else []
    for number in range(1, rounds + 1):
        turns += [Message("user", sentinel_question(number)), Message("assistant", sentinel_answer(number))]
    turns = turns[:-1] if prompt else turns
    what = f"{rounds} question{'s' if rounds > 1 else ''}{' after a system message' if system else ''}"
    return Probe(what, tuple(turns), prompt)


def padded_probe(system: bool) -> Probe:
    """Sentinels with white space around every message."""
    whole = sentinel_probe(2, system, prompt=False)
    turns = tuple(Message(message.role, f"\n {message.content} \n") for message in whole.messages)
    return Probe("messages with white space around them", turns, prompt=False)


def order_probes() -> list[Probe]:
    """Orders of turns that only some templates take; the first is two questions in a row."""
    one, two = Message("user", sentinel_question(1)), Message("user", sentinel_question(2))
    answer, another = Message("assistant", sentinel_answer(1)), Message("assistant", sentinel_answer(2))
    system = Message("system", SENTINEL_SYSTEM)
    orders = {
        "two questions in a row": (one, two),
        "two answers in a row": (one, answer, another, two),
        "an answer first": (answer, one),
        "a system message later on": (one, answer, system, two),
        "a system message at the end": (system, one, answer, system),
    }
    return [Probe(what, turns, prompt=True) for what, turns in orders.items()]


def edge_case_probes(specials: Sequence[str], system: bool) -> list[Probe]:
    """Contents that templates are known to rewrite."""
    contents = {
        "answers that hold <think>…</think>": ("Why?", "<think>\nBecause.\n</think>\n\nThat is why."),
        "messages that hold Jinja or HTML": ("{{ 1 }}{% if x %} <b>&amp;</b>", "{# no #} 'a' \"b\" \\n"),
        "messages that spell control tokens": ("a".join(specials[:40]) + "b", "c".join(specials[:40])),
        "messages of many lines and scripts": ("Zeile\r\n\r\nzwei\t三🦙", "- a\n- b\n\n```py\nx = 1\n```"),
        "the same text said twice": ("again", "again"),
    }
    probes = []
    for what, (user, assistant) in contents.items():
        turns = (Message("user", user), Message("assistant", assistant)) * 2
        probes += [Probe(what, turns, prompt=False), Probe(what, turns[:-1], prompt=True)]
    if system:
        two_lines = (Message("system", "Be {{ brief }}.\n\nNow."), Message("user", "Hi"), Message("assistant", "Ho"))
        probes.append(Probe("a system message of two lines", two_lines, prompt=False))
    return probes
