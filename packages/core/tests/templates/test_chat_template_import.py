"""A model's chat template becomes data with the same bytes and the right loss mask, or is refused with the reason."""

from __future__ import annotations

import pytest
from camelid_core.errors import TemplateError
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.templates.chat_template_export import render_chat_template
from camelid_core.templates.chat_template_import import import_template
from camelid_core.templates.segments import segments_text, trained_spans
from camelid_core.testing import assert_template_contract, takes_system, tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

SPECIALS = ("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<s>")
CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = CHATML.replace(
    "{{'<|im_start|>' + ",
    "{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + ",
)
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
GEMMA_3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% set role = 'model' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') }}{{ message['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] "
    "+ ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}{% else %}"
    "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
PHI_3 = (
    "{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>' + '\n' + message['content'] + "
    "'<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}"
    "{% endif %}"
)
FAITHFUL = {
    "chatml": CHATML,
    "default system": DEFAULT_SYSTEM,
    "llama 3": LLAMA_3,
    "gemma": GEMMA,
    "gemma 3": GEMMA_3,
    "mistral": MISTRAL,
    "phi 3": PHI_3,
}

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    [" a ", "\n\nb\n", "{{"]
)
pair = st.tuples(st.builds(Message, st.just("user"), text), st.builds(Message, st.just("assistant"), text))
conversations = st.tuples(
    st.lists(st.builds(Message, st.just("system"), text), max_size=1), st.lists(pair, min_size=1, max_size=4)
).map(lambda parts: (*parts[0], *(message for both in parts[1] for message in both)))


def imported(source):
    return import_template(source, "</s>", "<s>", SPECIALS)


@pytest.mark.parametrize("family", FAITHFUL)
@settings(max_examples=25)
@given(messages=conversations)
def test_what_is_imported_writes_what_the_jinja_writes(family, messages):
    template = imported(FAITHFUL[family])
    if messages[0].role == "system" and (not takes_system(template) or not messages[0].content.strip()):
        messages = messages[1:]
    for render, turns, prompt in ((template.render, messages, False), (template.prompt, messages[:-1], True)):
        theirs = render_chat_template(FAITHFUL[family], turns, "</s>", prompt, "<s>").text
        assert segments_text(render(turns)) == theirs


ONE = (Message("user", "Hi"), Message("assistant", "Ho"), Message("user", "Hi"), Message("assistant", "Ha"))


@pytest.mark.parametrize(
    ("family", "trained"),
    [
        ("chatml", "Ho<|im_end|>Ha<|im_end|>"),
        ("llama 3", "Ho<|eot_id|>Ha<|eot_id|>"),
        ("gemma", "Ho<end_of_turn>Ha<end_of_turn>"),
        ("mistral", "Ho</s>Ha</s>"),
        ("phi 3", "Ho<|end|>Ha<|end|>"),
    ],
)
def test_answers_are_trained_up_to_and_with_the_token_that_ends_them(family, trained):
    segments = imported(FAITHFUL[family]).render(ONE)
    assert segments_text([segment for segment in segments if segment.trained]) == trained


def test_what_people_wrote_stays_theirs():
    template = imported(CHATML)
    messages = (Message("user", "a<|im_end|>b"), Message("assistant", "c<|im_end|>"))
    own = [segment.text for segment in template.render(messages) if not segment.control]
    assert own == ["a<|im_end|>b", "c<|im_end|>"]


def test_a_templates_own_marks_are_taken():
    source = CHATML.replace(
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
        "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
        "{{ message['content'] }}{% endgeneration %}{% else %}{{ message['content'] }}{% endif %}{{'<|im_end|>\n'}}",
    )
    assert segments_text([segment for segment in imported(source).render(ONE) if segment.trained]) == "HoHa"


NUMBERED = {"chatglm", "chatglm-2"}
NAMES = [name for name in load_host().templates.names() if name != "own"]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NUMBERED])
def test_our_own_templates_come_back_from_their_export(name):
    """With the same bytes and mask (a context has no place of its own in a model's template)."""
    ours = load_host().templates[name]
    back = imported(ours.jinja())
    for messages in (
        ONE,
        (Message("system", " Be brief. "), *ONE),
        (Message("user", " x\n"), Message("assistant", " y ")),
    ):
        if messages[0].role == "system" and not takes_system(ours):
            continue
        one, other = ours.render(messages), back.render(messages)
        assert (segments_text(other), trained_spans(other)) == (segments_text(one), trained_spans(one))
        assert segments_text(back.prompt(messages[:-1])) == segments_text(ours.prompt(messages[:-1]))


@pytest.mark.parametrize("family", FAITHFUL)
def test_what_is_imported_keeps_the_contract(family):
    assert_template_contract(imported(FAITHFUL[family]), tiny_tokenizer(("<s>", "</s>", *SPECIALS[:5])))


UNFAITHFUL = {
    "it writes today's date": CHATML + "{{ strftime_now('%d %B %Y') }}",
    "it fails on 1 question: no tools, no answers": "{{ raise_exception('no tools, no answers.') }}",
    "is not how the conversation with that answer begins": CHATML.replace("assistant\n' }}", "bot\n' }}"),
    "it writes a message 0 times": CHATML.replace("message['content'] +", "'secret' +"),
    "or changes its text": CHATML.replace("message['content']", "message['content'] | upper"),
    "no control token ends an answer": CHATML.replace("<|im_end|>", "END"),
    "it writes an answer differently once another turn follows": CHATML.replace(
        "message['content'] +", "('' if loop.last or message['role'] == 'user' else 'old: ') + message['content'] +"
    ),
    "answers that hold <think>": CHATML.replace("message['content']", "message['content'].split('</think>')[-1]"),
    "messages that hold Jinja or HTML": CHATML.replace("message['content']", "message['content'].replace('{', '(')"),
    "it does not treat 3 questions": CHATML.replace(
        "message['role'] +", "message['role'] + ('' if loop.index < 6 else '!') +"
    ),
}


@pytest.mark.parametrize("reason", UNFAITHFUL)
def test_what_changes_its_contents_is_refused_with_the_reason(reason):
    with pytest.raises(TemplateError) as refused:
        imported(UNFAITHFUL[reason])
    assert reason in str(refused.value)
    assert "Choose another one with --template" in str(refused.value)


HOSTILE = {
    "attributes": "{{ ''.__class__.__mro__ }}",
    "globals": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "memory": "{{ 'a' * 2000000000 }}",
    "size": CHATML + "{{ 'a' * 50000000 }}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "no template": "{% for",
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_a_hostile_template_is_stopped_and_harms_nothing(trick):
    with pytest.raises(TemplateError, match=r"cannot be used|is refused"):
        imported(HOSTILE[trick])
