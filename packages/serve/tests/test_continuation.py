"""An answer that was cut off goes on exactly where it ended, whatever the template and wherever it was cut."""

from __future__ import annotations

import pytest
from camelid_core.errors import ModelError, UsageError
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.tokenization.encoder import Encoder
from camelid_serve.answers import AnswerDelta
from camelid_serve.engine import Sampling
from camelid_serve.engine_process.completion_request import CompletionRun
from camelid_serve.engine_process.messages import CompleteCommand
from camelid_serve.generation import continuation_ids, generate
from camelid_serve.loaded_models import LoadedModel

ASKED = [Message("system", "Be kind."), Message("user", "Hello?")]


def answer(
    loaded: LoadedModel, messages: list[Message], tokens: int, prefix_ids: tuple[int, ...] = ()
) -> list[AnswerDelta]:
    ids, known = continuation_ids(loaded, messages, prefix_ids)
    with generate(loaded, [ids], Sampling(max_new_tokens=tokens), prefix_ids=[known]) as answers:
        return list(answers)


@pytest.mark.parametrize("template", ["alpaca-space", "chatml", "vicuna"])
@pytest.mark.parametrize("first", [1, 5])
def test_going_on_is_as_if_it_had_not_ended(tuned: LoadedModel, template: str, first: int) -> None:
    loaded = tuned.with_template(load_host().templates[template])
    whole = answer(loaded, ASKED, 16)[-1]
    cut = answer(loaded, ASKED, first)[-1]
    rest = answer(loaded, [*ASKED, Message("assistant", cut.answer)], 16 - first, cut.ids)
    assert rest[-1].ids == whole.ids
    assert rest[-1].answer == whole.answer
    assert rest[-1].stats is not None
    assert rest[-1].stats.tokens == 16 - first
    assert "".join(delta.text for delta in rest) == "".join(delta.text for delta in answer(loaded, ASKED, 16))


def test_a_text_is_gone_on_with_as_it_was_trained_in_every_template(tuned: LoadedModel) -> None:
    templates = load_host().templates
    for name in templates.names():
        if name == "own":
            continue
        encoder = Encoder(tuned.encoder.tokenizer, templates[name])
        asked = ASKED[1:]
        prefix_ids = encoder.answer_prefix_ids([*asked, Message("assistant", "I think")])
        trained = encoder.example([*asked, Message("assistant", "I think of it")]).input_ids
        prompt = encoder.prompt_ids(asked)
        assert [*prompt, *prefix_ids] == trained[: len(prompt) + len(prefix_ids)], name
        assert encoder.template.parse(tuned.encoder.decoder.text(prefix_ids)) == "I think", name


def test_spaces_at_the_end_of_a_text_are_not_gone_on_with(tuned: LoadedModel) -> None:
    bare, spaced = (
        continuation_ids(tuned, [*ASKED, Message("assistant", text)], ()) for text in ("I think", "I think \n")
    )
    assert bare == spaced


def test_an_empty_answer_is_begun_anew(tuned: LoadedModel) -> None:
    assert answer(tuned, [*ASKED, Message("assistant", "  ")], 4)[-1].answer == answer(tuned, ASKED, 4)[-1].answer


def test_tokens_that_are_none_and_too_many_are_refused(tuned: LoadedModel) -> None:
    said = [*ASKED, Message("assistant", "I")]
    for wrong in (-1, tuned.vocabulary):
        with pytest.raises(UsageError, match="beyond"):
            continuation_ids(tuned, said, [wrong])
    with pytest.raises(ModelError, match="Shorten"):
        continuation_ids(tuned, said, [5] * tuned.engine.context_length)


@pytest.mark.parametrize("prefill", ["The answer is", " a", "x "])
def test_a_conversation_that_ends_with_an_answer_is_continued_as_the_api_does(talker, prefill):
    asked = [{"role": "user", "content": "What is 2 + 3?"}]
    events = []

    def run(command):
        CompletionRun(talker, command, lambda **event: events.append(event), None).run()
        return events[-1]["rows"][0]

    sampling = Sampling(max_new_tokens=6)
    begun = [*asked, {"role": "assistant", "content": prefill}]
    answer = run(CompleteCommand(model="", sampling=sampling, messages=begun))
    ids = talker.prompt_ids([Message("user", asked[0]["content"]), Message("assistant", prefill)])
    assert talker.encoder.decode(ids).endswith(prefill)
    plain = run(CompleteCommand(model="", sampling=sampling, prompts=[ids]))
    assert answer["answer"] == plain["answer"], "what the model writes next, its white space included"
