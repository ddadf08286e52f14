"""Turns of a conversation as files hold them → `Message`s: role and content, from and value, pairs.

Knows the names of roles. Knows nothing of rows or files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.records import ROLES, Message, Role
from camelid_core.strict_json import loads

from .row_faults import Faults, RowFault
from .text_values import excerpt, is_absent, is_empty, text

ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
}
"""Names of roles in the formats → ours; capitals do not matter."""

LOSS_KEYS = ("weight", "train", "training", "loss")
"""Keys of a turn that say whether it is learnt from."""
TURN_KEYS = frozenset(("role", "content", "context", "from", "value", "tool_calls", "function_call", *LOSS_KEYS))
"""Keys of a turn that are read."""
TOOL_ROLES = ("tool", "function", "tool_call", "function_call", "observation", "ipython")


def parse_message(turn: Any, where: str) -> Message:
    """One `{"role", "content"}` object; `context` is read where Camelid wrote it.

    Raises:
        DataError: no such object; the sentence begins with `where`.
    """
    try:
        return openai_turn(turn)
    except RowFault as fault:
        raise fault.at(where) from None


def openai_turn(turn: Any, faults: Faults | None = None) -> Message:
    """One turn with `role` and `content`, the content as text or as a list of text parts."""
    if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
        raise _no_turn(turn, "'role' and 'content'")
    role = role_named(turn["role"], turn, "role")
    if turn.get("tool_calls") or turn.get("function_call"):
        raise RowFault("tool_turn", _NO_TOOLS)
    trained = _trained(turn, role, faults)
    return Message(role, _content(turn.get("content")), _or_empty(turn.get("context")), trained)


def sharegpt_turn(turn: Any, faults: Faults | None = None) -> Message:
    """One turn with `from` and `value`."""
    if not isinstance(turn, Mapping) or not isinstance(turn.get("from"), str):
        raise _no_turn(turn, "'from' and 'value'")
    role = role_named(turn["from"], turn, "from")
    return Message(role, text(turn.get("value")), trained=_trained(turn, role, faults))


def any_turn(turn: Any, faults: Faults | None = None) -> Message:
    """Either of the two."""
    return sharegpt_turn(turn, faults) if isinstance(turn, Mapping) and "from" in turn else openai_turn(turn, faults)


def _trained(turn: Mapping[str, Any], role: Role, faults: Faults | None) -> bool:
    """Whether a turn is learnt from: `weight` of OpenAI, `train` or `training` of axolotl, `loss` of ms-swift.

    Raises:
        RowFault: a mark that is neither a truth value nor a number.
    """
    marks = {name: turn[name] for name in LOSS_KEYS if not is_absent(turn.get(name))}
    wrong = next((name for name, mark in marks.items() if not isinstance(mark, bool | int | float)), "")
    if wrong:
        raise RowFault("no_text", f"expected true, false or a number, not {excerpt(marks[wrong])}.", f", {wrong!r}")
    if faults is not None:
        faults.add_unused("keys of messages", (key for key in turn if key not in TURN_KEYS and not is_empty(turn[key])))
        if any(mark not in (0, 1) for mark in marks.values()):
            faults.note("messages had a weight other than 0 and 1, which was taken as 1")
        if role != "assistant" and any(marks.values()):
            faults.note("messages were marked to be learnt from and are no answers; answers alone are learnt from")
    return role != "assistant" or all(marks.values())


def turns(value: Any, name: str, faults: Faults | None = None) -> list[Message]:
    """A list of turns, or the JSON text of one where the file is a table."""
    value = parsed(value, name)
    if not isinstance(value, list) or not value:
        raise RowFault("no_turns", f"{name!r} must be a list with at least one message.")
    found = []
    for number, turn in enumerate(value, 1):
        try:
            found.append(any_turn(turn, faults))
        except RowFault as fault:
            raise fault.within(f", message {number}") from None
    return found


def pairs(value: Any, name: str) -> list[Message]:
    """Earlier turns as a list of (question, answer) pairs."""
    value = parsed(value, name)
    if not value:
        return []
    found = []
    for number, pair in enumerate(value if isinstance(value, list) else [value], 1):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RowFault("no_turns", f"expected a question and its answer, not {excerpt(pair)}.", f", {name!r}")
        question, answer = (text(part, f"{name} {number}") for part in pair)
        found += [Message("user", question), Message("assistant", answer)]
    return found


def parsed(value: Any, name: str) -> Any:
    """The value; where it is the text of a JSON list, that list."""
    if not isinstance(value, str) or value.lstrip()[:1] != "[":
        return value
    try:
        return loads(value)
    except (ValueError, RecursionError) as error:
        raise RowFault("not_json", f"{name!r} begins like a JSON list and is none: {error}") from None


def role_named(word: str, turn: Any, key: str) -> Role:
    role = ROLE_NAMES.get(word) or ROLE_NAMES.get(word.strip().lower())
    if role is not None:
        return role
    if word.strip().lower() in TOOL_ROLES:
        raise RowFault("tool_turn", _NO_TOOLS)
    raise RowFault("unknown_role", f"expected an object with {key!r} one of {_role_names(key)}, not {excerpt(turn)}.")


_NO_TOOLS = "a tool is called or answers here; only what people and models say can be learnt from."


def _or_empty(value: Any) -> str:
    return "" if value is None else text(value)


def _content(value: Any) -> str:
    if not isinstance(value, list):
        return text(value)
    for part in value:
        if not isinstance(part, Mapping) or part.get("type", "text") != "text" or "text" not in part:
            raise RowFault("no_text", f"only parts of type 'text' are taken, not {excerpt(part)}.")
    return text("".join(text(part["text"]) for part in value))


def _no_turn(turn: Any, keys: str) -> RowFault:
    return RowFault("unknown_role", f"expected an object with {keys}, not {excerpt(turn)}.")


def _role_names(key: str) -> str:
    return ", ".join(ROLES if key == "role" else ROLE_NAMES)
