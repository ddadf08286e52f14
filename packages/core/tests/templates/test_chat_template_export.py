"""A template's Jinja export renders the same bytes as the template."""

from __future__ import annotations

import pytest
from camelid_core.errors import TemplateError
from camelid_core.records import Message
from camelid_core.templates.chat_template_export import render_chat_template
from camelid_core.templates.role_template import RoleTemplate
from camelid_core.templates.segments import BOS, EOS, segments_text, trained_spans
from camelid_core.testing import takes_system
from hypothesis import given, settings
from hypothesis import strategies as st

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["{{ 1 }}", "{% if x %}", "{# no #}", EOS, "eos_token", "'", "\\n", "\\", "\r\n", "\n", " a ", "", "{{", "}}"]
)
pair = st.tuples(st.builds(Message, st.just("user"), text, text), st.builds(Message, st.just("assistant"), text))
conversations = st.tuples(
    st.lists(st.builds(Message, st.just("system"), text), max_size=1), st.lists(pair, min_size=1, max_size=3)
).map(lambda parts: (*parts[0], *(message for both in parts[1] for message in both)))


def assert_same(template, messages):
    source = template.jinja()
    if messages[0].role == "system" and not takes_system(template):
        with pytest.raises(TemplateError, match="no place for a system message"):
            render_chat_template(source, messages, "</s>", False)
        messages = messages[1:]
    segments = template.render(messages)
    whole = render_chat_template(source, messages, "</s>", False, "<s>")
    assert whole.text == segments_text(segments)
    assert whole.spans == trained_spans(segments)
    assert render_chat_template(source, messages[:-1], "</s>", True).text == segments_text(
        template.prompt(messages[:-1])
    )


@settings(max_examples=15)
@given(conversations)
def test_every_registered_template_renders_the_same_bytes(template, messages):
    assert_same(template, messages)


odd = st.sampled_from(
    ["'", "\\", "\n", "\r", "{{", "}}", "{%", "%}", "{#", "#}", " ", "a", EOS, BOS, "\\n", '"', "名", "\u2028"]
)
form = st.lists(odd, max_size=4).map("".join)

untokened = form.filter(lambda text: EOS not in text and BOS not in text)


@settings(max_examples=60)
@given(conversations, st.builds(
    RoleTemplate,
    name=st.just("odd"), help=st.just(""),
    user=form.map(lambda text: f"{text}{{content}}{text}"), assistant=form,
    system=form.map(lambda text: f"{text}{{content}}"),
    user_with_context=st.just("") | form.map(lambda text: f"{{content}}{text}{{context}}"),
    default_system=untokened, default_system_with_context=st.sampled_from(["", "with"]),
    answer_start=form, answer_end=form, between=form, closing=form, strip=st.booleans() | st.just(("user",)),
    start=form, lead=form, turn_end=st.none() | form, first_round=st.integers(0, 1),
    first_user=st.just("") | form.map(lambda text: f"{text}{{system}}{text}{{content}}"),
    only_user=st.just("") | form.map(lambda text: f"{{round}}{text}{{content}}"),
))  # fmt: skip
def test_whatever_characters_a_template_is_made_of(messages, template):
    assert_same(template, messages)


def test_what_is_trained_is_marked_for_those_who_train_elsewhere(byte_level):
    from camelid_core.builtin.templates import CHATML

    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    encoded = byte_level.apply_chat_template(
        turns, chat_template=CHATML.jinja(), return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert byte_level.decode(marked) == "Hello!<|im_end|>"


def test_transformers_writes_the_same_bytes_and_marks_the_same_answers(template):
    from camelid_core.testing import tiny_tokenizer

    tokenizer = tiny_tokenizer()
    messages = [Message("user", "Hi"), Message("assistant", "Hello!")] * 2
    turns = [{"role": message.role, "content": message.content} for message in messages]
    segments = template.render(messages)
    text = tokenizer.apply_chat_template(turns, chat_template=template.jinja(), tokenize=False)
    assert text == segments_text(segments, tokenizer.eos_token, bos="")
    encoded = tokenizer.apply_chat_template(
        turns, chat_template=template.jinja(), return_dict=True, return_assistant_tokens_mask=True
    )
    marked_ids = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    trained = segments_text([segment for segment in segments if segment.trained], tokenizer.eos_token, bos="")
    # a token there may begin with the prompt's last space
    assert "".join(tokenizer.decode(marked_ids).split()) == "".join(trained.split())


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{% for",
        "{{ raise_exception('no') }}",
    ],
)
def test_a_chat_template_from_elsewhere_can_do_nothing_but_render(source):
    with pytest.raises(TemplateError, match="the chat template cannot be rendered"):
        render_chat_template(source, [Message("user", "x")], "</s>", True)


def accepted(render) -> bool:
    try:
        render()
    except TemplateError:
        return False
    return True


roles = st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=1, max_size=5)


@settings(max_examples=20)
@given(roles)
def test_the_export_takes_the_orders_of_turns_that_the_template_takes_and_leaves_none_out(template, order):
    messages = [Message(role, f"Zq{number}qZ") for number, role in enumerate(order)]
    prompt = messages[-1].role != "assistant"
    render = template.prompt if prompt else template.render
    source = template.jinja()
    ours = accepted(lambda: render(messages))
    assert accepted(lambda: render_chat_template(source, messages, "</s>", prompt)) == ours
    if ours:
        theirs = render_chat_template(source, messages, "</s>", prompt)
        assert theirs.text == segments_text(render(messages))
        assert all(message.content in theirs.text for message in messages)


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}, {"role": "user", "content": "z"}],
        [{"role": "developer", "content": "x"}, {"role": "user", "content": "y"}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "tool_calls": [{}]}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": None}],
        [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
    ],
)
def test_an_export_raises_for_what_it_has_no_place_for(template, byte_level, turns):
    with pytest.raises(Exception, match=f"template '{template.name}': "):
        byte_level.apply_chat_template(turns, chat_template=template.jinja(), tokenize=False)


def test_an_export_raises_for_tools(template, byte_level):
    with pytest.raises(Exception, match="it has no place for tools"):
        byte_level.apply_chat_template(
            [{"role": "user", "content": "x"}], chat_template=template.jinja(), tools=[{"type": "function"}]
        )
