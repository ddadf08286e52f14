"""Each lint finds what it is for, says where, leaves sound rows alone, and its fix leaves nothing to find."""

from __future__ import annotations

import pytest
from camelid_core.quality import LINTS, Lint, control_tokens_of
from camelid_core.quality.row_lints import REFUSALS
from camelid_core.records import Message, Record, alpaca
from hypothesis import given
from hypothesis import strategies as st

SOUND = [
    alpaca("What is 2 + 3?", "It is 5."),
    alpaca("Zähle die Farben auf.", "Rot, Grün, Blau – „alle“ drei. 颜色：红、绿、蓝。"),
    alpaca("Print two lines in Python.", 'Use an escape:\n\nprint("one\\ntwo")\nprint("a\\nb")'),
    alpaca("Join lines.", "'\\n'.join(lines)"),
    alpaca("Write the gradient.", r"$\nabla f \neq 0$ and $\nu = \not 1$"),
    alpaca("What is C#?", "A language; its cousin is F#"),
    alpaca("How does an airplane fly?", "I can explain: the air on the wings lifts it. Language models were no help."),
    alpaca("Sort <b>these</b> [1, 2].", "if (a < b) { return [b]; }"),
    alpaca("Number?", "No. 5 #1"),
    Record((Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello!"))),
]
FAULTY = {
    "empty-output": [alpaca("a", ""), alpaca("a", " \n"), Record((Message("user", "a"),)), Record(())],
    "empty-instruction": [alpaca(" ", "b")],
    "role-order": [
        Record((Message("assistant", "a"), Message("user", "b"))),
        Record((Message("user", "a"), Message("user", "b"), Message("assistant", "c"))),
        Record((Message("system", "a"), Message("system", "b"), Message("user", "c"), Message("assistant", "d"))),
        Record((Message("user", "a"), Message("assistant", "b"), Message("user", "c"))),
    ],
    "trailing-hashtags": [alpaca("a", "Run daily. #fitness #health"), alpaca("a", "Ok\n\n#sun_set\n")],
    "control-tokens": [
        alpaca("a </s> b", "c"),
        alpaca("a", "b <|im_end|>"),
        alpaca("a", "c", context="[INST] now"),
        alpaca("a", "<start_of_turn>model"),
    ],
    "escaped-tags": [
        alpaca("<|user|>\\nHi\\n<|assistant|>\\n", "a"),
        alpaca("q", "Hello.\\n<|user|>"),
    ],
    "escaped-newlines": [
        alpaca("Which?\\nOptions:\\n- yes\\n- no", "yes"),
        alpaca("Answer this.\nWhich one?\\n(A) one\\n(B) two", "A"),
        alpaca("a", "b", context="first\\r\\nsecond"),
    ],
    "mojibake": [alpaca("a", "Itâ€™s so"), alpaca("cafÃ©", "b"), alpaca("a", "lost \ufffd")],
    "refusal": [
        alpaca("a", "As an AI language model, I cannot do that."),
        alpaca("a", "I’m sorry, but I can’t help."),
        alpaca("a", "作为一个人工智能，我不能。"),
    ],
    "answer-is-prompt": [alpaca("Say this again.", " Say this again. "), alpaca("Copy.", "x y z", context="x y z")],
    "short-answer": [alpaca("a", " b ")],
    "long-row": [alpaca("a", "word " * 5000)],
}


def compares(lint: Lint) -> bool:
    return lint.factory is not None


def test_every_lint_of_one_row_is_tried_here():
    assert set(FAULTY) == {name for name, lint in LINTS.items() if not compares(lint)}


@pytest.mark.parametrize("name", FAULTY)
def test_a_lint_finds_its_fault_and_not_another_s(name):
    lint = LINTS[name]
    for record in FAULTY[name]:
        assert lint.find(record), record
    assert [record for record in SOUND if lint.find(record)] == []
    assert all("\n" not in lint.find(record) for record in FAULTY[name])


@pytest.mark.parametrize("name", [name for name, lint in LINTS.items() if lint.fix])
def test_what_was_fixed_has_nothing_left_to_find(name):
    lint = LINTS[name]
    fixed = [lint.fix(record) for record in FAULTY[name]]
    assert any(fixed)
    assert not any(lint.find(record) for record in fixed if record is not None)


def test_fixes_put_right_what_was_meant():
    assert LINTS["trailing-hashtags"].fix(alpaca("a", "Run daily. #fitness #health")).answer == "Run daily."
    assert LINTS["mojibake"].fix(alpaca("a", "Itâ€™s a cafÃ©")).answer == "It’s a café"
    assert LINTS["mojibake"].fix(alpaca("a", "lost \ufffd")) is None
    assert LINTS["escaped-newlines"].fix(alpaca("Which?\\n- a\\n- b", "a")).messages[0].content == "Which?\n- a\n- b"
    code = alpaca('Fix it:\\nprint("a\\nb")\nprint("c\\nd")', "ok")
    assert LINTS["escaped-newlines"].fix(code) == code


texts = st.text(max_size=40) | st.sampled_from(["\\n", "#a #b", "Ã©", "<|x|>", "as an AI model", "\ud800", "\r\n\\n"])
anything = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts, texts), max_size=4)


@given(anything.map(lambda messages: Record(tuple(messages))))
def test_no_row_makes_a_lint_fail_and_every_fix_keeps_the_turns(record):
    for lint in LINTS.values():
        if not lint.extra:
            assert isinstance(lint.start()(record), str)
        if lint.fix is not None and lint.find(record):
            fixed = lint.fix(record)
            assert fixed is None or [m.role for m in fixed.messages] == [m.role for m in record.messages]


def test_control_tokens_can_be_those_of_one_tokenizer():
    lint = control_tokens_of(["<|my_end|>", "~end~"])
    assert lint.find(alpaca("a", "so ~end~ it is"))
    assert not lint.find(alpaca("a", "so </s> it is"))
    assert not control_tokens_of([]).find(alpaca("a", "</s>"))


@pytest.mark.parametrize("sound", range(len(SOUND)))
def test_sound_rows_pass_every_lint(sound):
    assert [name for name, lint in LINTS.items() if lint.find(SOUND[sound])] == []


def test_every_refusal_is_found_in_a_sentence():
    """The cheap question asked first rules none of them out."""
    assert [text for text in REFUSALS if not LINTS["refusal"].find(alpaca("a", f"Well, {text.upper()} that."))] == []
