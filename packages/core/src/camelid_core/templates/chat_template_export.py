"""A `RoleTemplate` as a Hugging Face chat template that renders the same bytes.

Knows Jinja's syntax and the message dictionaries of `apply_chat_template`: `context` is an
optional key beside `content`. Knows nothing of tokenizers. `chat_template_import` is the inverse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from camelid_core.errors import TemplateError
from camelid_core.records import Message

from .role_fields import RoleFields
from .sandbox import Rendered, render_in_sandbox
from .segments import BOS, EOS, NO_REASONING, PLACEHOLDER

_CONTENT_AND_CONTEXT = "(m['content'] + ('\\n' + m['context'] if m['context'] else ''))"


def export(template: RoleFields) -> str:
    """Jinja source of the chat template; `{% generation %}` marks what is trained."""
    prompt = literal(template.assistant)
    return (
        _refusals(template)
        + _system(template)
        + "{%- for m in turns %}"
        + _check_order(template)
        + "{%- if m['role'] == 'user' %}"
        + _user(template)
        + "{%- elif m['role'] == 'assistant' %}"
        + prompt
        + "{%- generation %}"
        + literal(template.lead)
        + _answer(template)
        + _last_or_between(template.answer_end, template.answer_end if template.turn_end is None else template.turn_end)
        + "{%- endgeneration %}"
        + _last_or_between(template.closing, template.between)
        + _other_roles(template)
        + "{%- endif %}{%- endfor %}"
        + f"{{%- if add_generation_prompt %}}{prompt}{literal(template.lead)}{{%- endif %}}"
    )


def _refusals(template: RoleFields) -> str:
    """Raises for what the template has no place for, before anything is written: nothing is left out in silence."""
    nobody = _raise(template, "the conversation has no user message.")
    asked = "messages | selectattr('role', 'equalto', 'user') | list | length > 0"
    return (
        ("" if template.turn_order == "alternate" else f"{{%- if not ({asked}) %}}{nobody}{{%- endif %}}")
        + f"{{%- if tools %}}{_raise(template, 'it has no place for tools.')}{{%- endif %}}"
        "{%- for m in messages %}{%- if m['content'] is not string or m['tool_calls'] %}"
        + _raise(template, "a turn must be text, without tool calls.")
        + "{%- endif %}{%- endfor %}"
    )


def _other_roles(template: RoleFields) -> str:
    """What is done with turns that are neither the user's nor the assistant's."""
    later = ""
    if template.turn_order == "any":
        text = _format_source(template.system, {"content": f"m['content']{_trim(template, 'system')}"})
        later = f"{{%- elif m['role'] == 'system' %}}{text}"
    return f"{later}{{%- else %}}{_raise(template, _ROLE + ', which has no place there.')}"


_ROLE = "turn ' ~ (loop.index + messages | length - turns | length) ~ ' is from \\'' ~ m['role'] ~ '\\'"
"""Written into a string between single quotes: it ends the string, names the turn, and begins another."""


def _check_order(template: RoleFields) -> str:
    if template.turn_order != "alternate":
        return ""
    expected = "('user' if loop.index0 % 2 == 0 else 'assistant')"
    message = _ROLE + " where \\'' ~ " + expected + " ~ '\\' was expected."
    return f"{{%- if m['role'] != {expected} %}}{_raise(template, message)}{{%- endif %}}"


def _raise(template: RoleFields, what: str) -> str:
    return f"{{{{- raise_exception({_jinja_string(f'template {template.name!r}: ')} ~ '{what}') }}}}"


def _trim(template: RoleFields, role: str) -> str:
    return " | trim" if template.strips(role) else ""


def _system(template: RoleFields) -> str:
    """Sets `turns` and, where the template has a place for it, `system`; writes what comes before the turns."""
    has_system = "messages[0]['role'] == 'system'"
    split = f"{{%- set turns = messages[1:] if {has_system} else messages %}}"
    must_follow = _raise(template, "a user message must follow.")
    split += f"{{%- if not turns %}}{must_follow}{{%- endif %}}"
    if not (template.system or template.first_user):
        refuse = f"{{%- if {has_system} %}}{_raise(template, 'it has no place for a system message.')}{{%- endif %}}"
        return split + refuse + literal(template.start)
    default = _jinja_string(template.default_system)
    if template.default_system_with_context:
        with_context = _jinja_string(template.default_system_with_context)
        default = f"({with_context} if turns[0]['context'] else {default})"
    content = f"messages[0]['content']{_trim(template, 'system')}"
    choose = f"{{%- set system = ({content}) if {has_system} else {default} %}}"
    source = _format_source(template.system, {"content": "system"})
    system = source if template.always_system else f"{{%- if system %}}{source}{{%- endif %}}" if source else ""
    return split + choose + literal(template.start) + system


def _user(template: RoleFields) -> str:
    """The first of the template's user formats whose condition holds."""
    trim = _trim(template, "user")
    values = {
        "content": _CONTENT_AND_CONTEXT + trim,
        "system": "system",
        "round": f"loop.index0 // 2 + {template.first_round}",
    }
    separate = values | {"content": f"m['content']{trim}", "context": f"m['context']{trim}"}
    formats = (
        ("loop.first and system", template.first_user, values),
        ("turns | length <= 2", template.only_user, values),
        ("m['context']", template.user_with_context, separate),
    )
    chosen = [(condition, _format_source(text, places)) for condition, text, places in formats if text]
    plain = _format_source(template.user, values)
    if not chosen:
        return plain
    branches = "".join(
        f"{{%- {'elif' if number else 'if'} {condition} %}}{source}"
        for number, (condition, source) in enumerate(chosen)
    )
    return f"{branches}{{%- else %}}{plain}{{%- endif %}}"


def _answer(template: RoleFields) -> str:
    """What begins an answer, and its content."""
    start, content = template.answer_start, f"m['content']{_trim(template, 'assistant')}"
    begin = _last_or_between(start, start if template.turn_start is None else template.turn_start)
    if not template.drops_reasoning:
        return f"{begin}{{{{- {content} }}}}"
    reasoning = "content.split('</think>')[0].split('<think>')[-1].strip('\\n')"
    said = "content.split('</think>')[-1].lstrip('\\n')"
    with_reasoning = literal(start.partition(NO_REASONING)[0])
    with_reasoning += f"{{{{- '<think>\\n' ~ {reasoning} ~ '\\n</think>\\n\\n' }}}}"
    return (
        f"{{%- set content = {content} %}}"
        f"{{%- if '</think>' in content %}}{{%- if loop.last %}}{with_reasoning}{{%- endif %}}{{{{- {said} }}}}"
        f"{{%- else %}}{begin}{{{{- content.lstrip('\\n') if loop.last else content }}}}{{%- endif %}}"
    )


def _last_or_between(closing: str, between: str) -> str:
    if closing == between:
        return literal(closing)
    return f"{{%- if loop.last %}}{literal(closing)}{{%- else %}}{literal(between)}{{%- endif %}}"


def _format_source(text: str, values: Mapping[str, str]) -> str:
    """Jinja source that writes a format string with the expressions `values` for its placeholders."""
    return "".join(
        f"{{{{- {values[part]} }}}}" if number % 2 else literal(part)
        for number, part in enumerate(PLACEHOLDER.split(text))
    )


_TOKEN_VARIABLES = {EOS: "eos_token", BOS: "bos_token"}


def literal(text: str) -> str:
    """Jinja source that writes `text`; the placeholders EOS and BOS become the tokenizer's tokens."""
    parts = (part for part in re.split(f"({re.escape(EOS)}|{re.escape(BOS)})", text) if part)
    return "".join(f"{{{{- {_TOKEN_VARIABLES.get(part) or _jinja_string(part)} }}}}" for part in parts)


def _jinja_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def to_chat_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The message dictionaries that a chat template is given; `context` is a key only where there is any."""
    return [
        {"role": message.role, "content": message.content, **({"context": message.context} if message.context else {})}
        for message in messages
    ]


def render_chat_template(
    source: str, messages: Sequence[Message], eos: str, generation_prompt: bool, bos: str = "<s>"
) -> Rendered:
    """What `source` renders to in the sandbox, and the spans of it that `{% generation %}` marks.

    Raises:
        TemplateError: no valid Jinja, it raises an exception, or it uses what the sandbox does not have.
    """
    values = {"eos_token": eos, "bos_token": bos, "add_generation_prompt": generation_prompt}
    try:
        return render_in_sandbox(source, to_chat_messages(messages), values)
    except Exception as error:
        raise TemplateError(f"the chat template cannot be rendered: {error}") from None
