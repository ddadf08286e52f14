"""A `RoleTemplate` as a Hugging Face chat template that renders the same bytes.

Knows Jinja's syntax and the message dictionaries of `apply_chat_template`: `context` is an
optional key beside `content`. Knows nothing of tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import TemplateError
from .records import Message
from .templates import EOS

if TYPE_CHECKING:
    from .templates import RoleTemplate


def export(template: RoleTemplate) -> str:
    """Source of the chat template; `{% generation %}` marks what is trained."""
    with_context = _form(template.user_with_context, template.strip) if template.user_with_context else ""
    plain = _form(template.user, template.strip, _TEXT)
    user = f"{{%- if m['context'] %}}{with_context}{{%- else %}}{plain}{{%- endif %}}" if with_context else plain
    answer = _literal(template.answer_start) + _value("m['content']", template.strip) + _literal(template.answer_end)
    closing = (
        f"{{%- if loop.last %}}{_literal(template.closing)}{{%- else %}}{_literal(template.between)}{{%- endif %}}"
        if template.closing != template.between
        else _literal(template.closing)
    )
    return (
        _system(template)
        + "{%- for m in turns %}"
        + "{%- if m['role'] == 'user' %}"
        + user
        + "{%- elif m['role'] == 'assistant' %}"
        + _literal(template.assistant)
        + "{%- generation %}"
        + answer
        + "{%- endgeneration %}"
        + closing
        + "{%- endif %}{%- endfor %}"
        + f"{{%- if add_generation_prompt %}}{_literal(template.assistant)}{{%- endif %}}"
    )


_TEXT = "(m['content'] + ('\\n' + m['context'] if m['context'] else ''))"


def _system(template: RoleTemplate) -> str:
    split = "{%- set turns = messages[1:] if messages[0]['role'] == 'system' else messages %}"
    if not template.system:
        return split
    default = _string(template.default_system)
    if template.default_system_with_context:
        default = f"({_string(template.default_system_with_context)} if turns[0]['context'] else {default})"
    choose = (
        f"{{%- set system = messages[0]['content'] if messages[0]['role'] == 'system' else {default} %}}"
        f"{{%- if system %}}{_form(template.system, template.strip, 'system')}{{%- endif %}}"
    )
    return split + choose


def _form(form: str, strip: bool, content: str = "m['content']") -> str:
    names = {"{content}": content, "{context}": "m['context']"}
    parts = re.split(r"(\{content\}|\{context\})", form)
    return "".join(_value(names[part], strip) if part in names else _literal(part) for part in parts)


def _value(expression: str, strip: bool) -> str:
    return f"{{{{- {expression}{' | trim' if strip else ''} }}}}"


def _literal(text: str) -> str:
    pieces = [
        ("eos_token" if part == EOS else _string(part)) for part in re.split(re.escape(EOS).join("()"), text) if part
    ]
    return "".join(f"{{{{- {piece} }}}}" for piece in pieces)


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def render_jinja(source: str, messages: Sequence[Message], eos: str, generation_prompt: bool) -> str:
    """What `source` renders to, in the sandbox that transformers uses too."""
    import jinja2
    from transformers.utils.chat_template_utils import _compile_jinja_template

    turns = [
        {"role": message.role, "content": message.content, **({"context": message.context} if message.context else {})}
        for message in messages
    ]
    try:
        template = _compile_jinja_template(source)
        return str(
            template.render(messages=turns, eos_token=eos, bos_token="", add_generation_prompt=generation_prompt)
        )
    except jinja2.TemplateError as error:
        raise TemplateError(f"the chat template cannot be rendered: {error}") from None
