"""`RoleFields`: the data of a prompt template, one format string per role. Knows no conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .segments import EOS

TurnOrder = Literal["alternate", "repeated", "any"]
"""Which orders of turns a template takes after a system message at the start: user and assistant in turn; also several
turns of one role in a row, or an answer first; also system messages later on."""


@dataclass(frozen=True, slots=True)
class RoleFields:
    """The fields of a template: one format string per role.

    `system`, `user` and `user_with_context` hold `{content}` (and `{context}`); where
    `user_with_context` is empty, context follows the content on a line of its own.
    `default_system` is used when a conversation has no system message; `default_system_with_context`
    when its first user message has a context. An answer is `answer_start + content + answer_end`, all
    of it trained; `between` separates it from the next turn, and `closing` ends the text; neither is trained.

    What only some families need: `start` comes before everything. `first_user` holds `{system}` too:
    the first user turn where there is a system text, which belongs there. `only_user` is the user turn of
    a conversation with a single one. `{round}` in a user format counts the questions from `first_round`.
    `turn_end` ends answers that another turn follows, where that differs from `answer_end`. `lead` comes
    before each answer like `assistant`, is part of the prompt, and is trained all the same.
    `complete`: the text is all that a model is given, so the encoder leaves out what the tokenizer itself puts before
    a text (a model's own chat template writes its beginning of sequence, or wants none).
    `always_system`: the `system` format is written without a system text, too (it holds more than that text).
    `turn_start` begins answers that another turn follows, where that differs from `answer_start`. `drops_reasoning`:
    `<think>…</think>` is left out of such answers; in the last one it takes the place of `NO_REASONING`.
    `turn_order`: which orders of turns it takes (`TurnOrder`); "any" needs a `system` format, and no format but "user"
    and "user_with_context" may depend on a turn's place.
    `strip`: whether leading and trailing white space of messages is dropped; of all roles, or of these.
    """

    name: str
    help: str
    user: str
    assistant: str
    system: str = ""
    user_with_context: str = ""
    default_system: str = ""
    default_system_with_context: str = ""
    answer_start: str = ""
    answer_end: str = EOS
    between: str = ""
    closing: str = ""
    strip: bool | tuple[str, ...] = False
    stops: tuple[str, ...] = ()
    start: str = ""
    first_user: str = ""
    only_user: str = ""
    first_round: int = 1
    turn_end: str | None = None
    lead: str = ""
    complete: bool = False
    always_system: bool = False
    turn_start: str | None = None
    drops_reasoning: bool = False
    turn_order: TurnOrder = "alternate"

    def strips(self, role: str) -> bool:
        """Whether leading and trailing white space of this role's messages is dropped."""
        return self.strip if isinstance(self.strip, bool) else role in self.strip
