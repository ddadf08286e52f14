"""What every template does with any conversation."""

from __future__ import annotations

from itertools import pairwise

import pytest
from camelid_core.errors import TemplateError
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.templates.role_template import RoleTemplate
from camelid_core.templates.segments import EOS, REASONING_MARKS, Segment, segments_text
from camelid_core.templates.template import PromptTemplate
from camelid_core.testing import takes_system
from hypothesis import assume, given, settings
from hypothesis import strategies as st

text = st.text(max_size=20) | st.sampled_from(["{content}", "{context}", EOS, "<|im_end|>", "</s>", " a ", "\n", ""])
pair = st.tuples(st.builds(Message, st.just("user"), text, text), st.builds(Message, st.just("assistant"), text))
system = st.builds(Message, st.just("system"), text)
conversations = st.tuples(st.lists(system, max_size=1), st.lists(pair, min_size=1, max_size=3)).map(
    lambda parts: (*parts[0], *(message for both in parts[1] for message in both))
)


def fitting(template: RoleTemplate, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Without a system message where the template has no place for one."""
    return messages[1:] if messages[0].role == "system" and not takes_system(template) else messages


@settings(max_examples=15)
@given(conversations)
def test_the_prompt_is_a_prefix_of_the_conversation_up_to_the_answer(template, messages):
    messages = fitting(template, messages)
    whole = template.render(messages)
    prompt = segments_text(template.prompt(messages[:-1]))
    assert segments_text(whole).startswith(prompt)
    if not template.lead:
        begins = [n for n, segment in enumerate(whole) if segment.trained and not (n and whole[n - 1].trained)]
    else:
        begins = [n for n, segment in enumerate(whole) if segment.token_boundary]
    assert segments_text(whole[: begins[-1]]) == prompt


def holds_reasoning_marks(messages):
    return any(mark in message.content for message in messages for mark in REASONING_MARKS)


@settings(max_examples=15)
@given(conversations)
def test_what_people_wrote_is_never_read_as_control_text(template, messages):
    messages = fitting(template, messages)
    assume(not holds_reasoning_marks(messages))  # which are control text in answers
    own = "".join(segment.text for segment in template.render(messages) if not segment.control)
    for message in messages:
        assert (message.content.strip() if template.strips(message.role) else message.content) in own


@settings(max_examples=15)
@given(conversations)
def test_trained_text_is_the_answers_and_control_text_alone(template, messages):
    messages = fitting(template, messages)
    assume(not holds_reasoning_marks(messages))  # which are control text in answers
    strip = str.strip if template.strips("assistant") else str
    spoken = [segment.text for segment in template.render(messages) if segment.trained and not segment.control]
    answers = [strip(message.content) for message in messages if message.role == "assistant"]
    assert spoken == [answer for answer in answers if answer]


@settings(max_examples=15)
@given(conversations)
def test_segments_are_never_empty_and_neighbours_always_differ(template, messages):
    messages = fitting(template, messages)
    for segments in (template.render(messages), template.prompt(messages[:-1])):
        assert all(segment.text for segment in segments)
        kinds = [(segment.trained, segment.control, segment.token_boundary) for segment in segments]
        assert all(one != other for one, other in pairwise(kinds))


@pytest.mark.parametrize(
    ("roles", "sentence"),
    [
        ([], "the conversation is empty"),
        (["system"], "only a system message"),
        (["assistant"], "turn 1 is from 'assistant'"),
        (["system", "system", "user"], "turn 2 is from 'system'"),
        (["user", "user"], "turn 2 is from 'user'"),
    ],
)
def test_roles_out_of_order_are_refused_by_template_and_turn(template, roles, sentence):
    taken = {"any": {"system", "user", "assistant"}, "repeated": {"user", "assistant"}, "alternate": set()}
    if set(roles) - {"system"} and set(roles) <= taken[template.turn_order]:
        return  # its family's own chat template takes them
    messages = [Message(role, "x") for role in roles]
    for render in (template.render, template.prompt):
        with pytest.raises(TemplateError, match=f"template '{template.name}': .*{sentence}"):
            render(messages)


@pytest.mark.parametrize("name", ["chatml", "qwen", "llama-3", "phi-3", "zephyr", "tulu", "chatglm-3", "glm-4"])
@pytest.mark.parametrize("roles", ["uu", "suasu", "uas", "auu", "uuaasu"])
def test_families_that_take_any_order_of_turns_write_every_turn_in_its_place(name, roles):
    template = load_host().templates[name]
    of = {"s": "system", "u": "user", "a": "assistant"}
    text = segments_text(template.prompt([Message(of[role], f"Zq{number}qZ") for number, role in enumerate(roles)]))
    places = [text.index(f"Zq{number}qZ") for number in range(len(roles))]
    assert places == sorted(places)


def test_a_conversation_ends_with_the_assistant_and_a_prompt_with_the_user(template):
    asked, answered = [Message("user", "x")], [Message("user", "x"), Message("assistant", "y")]
    with pytest.raises(TemplateError, match="the last turn is from 'user', not from 'assistant'"):
        template.render(asked)
    with pytest.raises(TemplateError, match="the last turn is from 'assistant', not from 'user'"):
        template.prompt(answered)


def test_every_template_fits_the_protocol_and_explains_itself(template):
    assert isinstance(template, PromptTemplate)
    assert template.help
    assert template.name == template.name.lower()


def test_a_conversations_own_system_text_replaces_the_default_and_is_not_trusted():
    template = RoleTemplate("t", "", user="{content}|", assistant=">", system="[{content}]", default_system="be kind")
    own = template.render([Message("system", "be <s>"), Message("user", "a"), Message("assistant", "b")])
    assert segments_text(own) == "[be <s>]a|>b</s>"
    assert Segment("be <s>") in own
    default = template.render([Message("user", "a"), Message("assistant", "b")])
    assert default[0] == Segment("[be kind]", control=True)


def test_context_has_its_own_place_where_the_template_gives_one():
    apart = RoleTemplate("t", "", user="{content}|", user_with_context="{content}({context})|", assistant=">")
    joined = RoleTemplate("t", "", user="{content}|", assistant=">")
    assert segments_text(apart.prompt([Message("user", "a", "b")])) == "a(b)|>"
    assert segments_text(apart.prompt([Message("user", "a")])) == "a|>"
    assert segments_text(joined.prompt([Message("user", "a", "b")])) == "a\nb|>"


def test_the_end_of_sequence_is_the_tokenizers_own_and_a_persons_stays_text():
    segments = [Segment(f"a{EOS}", control=True), Segment(f"b{EOS}")]
    assert segments_text(segments, "<|end|>") == f"a<|end|>b{EOS}"


def test_a_template_without_a_place_for_system_text_says_so_and_drops_nothing():
    bare = RoleTemplate("bare", "", user="{content}\n", assistant="> ")
    with pytest.raises(TemplateError, match="no place for a system message"):
        bare.prompt([Message("system", "Be brief."), Message("user", "Hi")])
