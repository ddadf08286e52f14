"""The chat templates that model families published, as trl brings them: imported, or refused with what fits instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import trl
from camelid_core.errors import TemplateError
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.templates.chat_template_export import render_chat_template
from camelid_core.templates.chat_template_import import import_template
from camelid_core.templates.sandbox import RenderRequest, render_in_subprocess
from camelid_core.templates.segments import segments_text

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
SPECIALS = (
    "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|user|>", "<|end|>",
)  # fmt: skip
ORDER = {"qwen3": "any", "qwen2_5": "any", "llama3": "any", "llama3_1": "repeated", "llama3_2": "repeated"}
NO_CLOCK = ""
THINKING = "<think>\nBecause.\n</think>\n\nThat is why."
OF = {"s": "system", "u": "user", "a": "assistant"}


def conversation(roles: str, answer: str = "answer") -> tuple[Message, ...]:
    return tuple(
        Message(
            OF[role], f"{answer if role == 'a' else 'text'} {number}" if answer != THINKING or role != "a" else answer
        )
        for number, role in enumerate(roles)
    )


@pytest.mark.parametrize("family", ORDER)
def test_a_published_template_is_imported_with_its_bytes_and_comes_back_from_the_export(family):
    source = (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
    template = import_template(source, "<|im_end|>", "<s>", SPECIALS)
    assert template.turn_order == ORDER[family]
    shapes = ["u", "ua", "su", "suau", "uaua", "uu", "uaau"] + (["uasu"] if ORDER[family] == "any" else [])
    conversations = [conversation(roles) for roles in shapes]
    if family == "qwen3":
        conversations += [conversation(roles, THINKING) for roles in ("ua", "uau", "uaua")]
    asked = [messages[-1].role != "assistant" for messages in conversations]
    turns = [[{"role": m.role, "content": m.content} for m in messages] for messages in conversations]
    requests = [RenderRequest(each, prompt, NO_CLOCK) for each, prompt in zip(turns, asked, strict=True)]
    theirs = render_in_subprocess(source, requests, "<|im_end|>", "<s>")
    exported = template.jinja()
    for messages, prompt, rendered in zip(conversations, asked, theirs, strict=True):
        ours = segments_text((template.prompt if prompt else template.render)(messages), "<|im_end|>", "<s>")
        assert ours == rendered.text
        assert render_chat_template(exported, messages, "<|im_end|>", prompt, "<s>").text == ours


@pytest.mark.parametrize(
    ("family", "built_in"), [("deepseek_r1_distill", "deepseek"), ("glm4moe", "glm-4"), ("gptoss", "gpt-oss")]
)
def test_a_refused_template_names_the_built_in_of_its_family(family, built_in):
    source = (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
    with pytest.raises(TemplateError, match=f"there is --template {built_in}"):
        import_template(source, "</s>", "<s>", SPECIALS)
    assert built_in in load_host().templates.names()


@pytest.mark.parametrize("roles", ["u", "ua", "su", "suaua"])
def test_gpt_oss_is_what_its_own_template_writes_but_for_the_date(roles):
    messages, prompt = conversation(roles), roles.endswith("u")
    turns = [{"role": message.role, "content": message.content} for message in messages]
    source = (TEMPLATES / "gptoss.jinja").read_text(encoding="utf-8")
    (theirs,) = render_in_subprocess(source, [RenderRequest(turns, prompt, "2031-11-23T22:21:20")], "<|return|>", "")
    template = load_host().templates["gpt-oss"]
    ours = segments_text((template.prompt if prompt else template.render)(messages), "<|return|>", "")
    assert ours == theirs.text.replace("Current date: 2031-11-23\n", "")
