"""An answer that was cut off goes on exactly where it ended, whatever the template and wherever it was cut."""

from __future__ import annotations

import pytest
from camelid_core.errors import ModelError, UsageError
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.tokenization.encoder import Encoder
from camelid_serve.assemble import Assembled
from camelid_serve.engine import Sampling
from camelid_serve.generation import Delta, ask, prepare

ASKED = [Message("system", "Be kind."), Message("user", "Hello?")]


def answer(assembled: Assembled, messages: list[Message], tokens: int, begun: tuple[int, ...] = ()) -> list[Delta]:
    ids, known = prepare(assembled, messages, begun)
    with ask(assembled, [ids], Sampling(max_new_tokens=tokens), begun=[known]) as answers:
        return list(answers)


@pytest.mark.parametrize("template", ["alpaca-space", "chatml", "vicuna"])
@pytest.mark.parametrize("first", [1, 5])
def test_going_on_is_as_if_it_had_not_ended(tuned: Assembled, template: str, first: int) -> None:
    assembled = tuned.with_template(load_host().templates[template])
    whole = answer(assembled, ASKED, 16)[-1]
    cut = answer(assembled, ASKED, first)[-1]
    rest = answer(assembled, [*ASKED, Message("assistant", cut.answer)], 16 - first, cut.ids)
    assert rest[-1].ids == whole.ids
    assert rest[-1].answer == whole.answer
    assert rest[-1].facts is not None
    assert rest[-1].facts.tokens == 16 - first
    assert "".join(delta.text for delta in rest) == "".join(delta.text for delta in answer(assembled, ASKED, 16))


def test_a_text_is_gone_on_with_as_it_was_trained_in_every_template(tuned: Assembled) -> None:
    templates = load_host().templates
    for name in templates.names():
        if name == "own":
            continue
        encoder = Encoder(tuned.encoder.tokenizer, templates[name])
        asked = ASKED[1:]
        begun = encoder.begun_ids([*asked, Message("assistant", "I think")])
        trained = encoder.example([*asked, Message("assistant", "I think of it")]).input_ids
        prompt = encoder.prompt_ids(asked)
        assert [*prompt, *begun] == trained[: len(prompt) + len(begun)], name
        assert encoder.template.parse(tuned.decode(begun)) == "I think", name


def test_spaces_at_the_end_of_a_text_are_not_gone_on_with(tuned: Assembled) -> None:
    bare, spaced = (prepare(tuned, [*ASKED, Message("assistant", text)], ()) for text in ("I think", "I think \n"))
    assert bare == spaced


def test_an_empty_answer_is_begun_anew(tuned: Assembled) -> None:
    assert answer(tuned, [*ASKED, Message("assistant", "  ")], 4)[-1].answer == answer(tuned, ASKED, 4)[-1].answer


def test_tokens_that_are_none_and_too_many_are_refused(tuned: Assembled) -> None:
    said = [*ASKED, Message("assistant", "I")]
    for wrong in (-1, tuned.vocabulary):
        with pytest.raises(UsageError, match="beyond"):
            prepare(tuned, said, [wrong])
    with pytest.raises(ModelError, match="Shorten"):
        prepare(tuned, said, [5] * tuned.engine.context_length)
