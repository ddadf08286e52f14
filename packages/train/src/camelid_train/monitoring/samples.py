"""Sample answers: what the model generates for some held-out prompts during training.

Knows prompts, greedy decoding, and how to leave the run's state unchanged. Knows nothing of losses or of intervals.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from camelid_core.errors import CamelidError
from camelid_core.records import Record
from camelid_core.tasks import TaskContext
from camelid_core.tokenization.encoder import Encoder

_MAX_CHARACTERS = 4000
"""Characters of a text that go into an event."""


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    """A prompt's token ids, the user's text in it, and the reference answer."""

    ids: list[int]
    text: str
    reference: str


def sample_prompts(records: Sequence[Record], encoder: Encoder, count: int, longest: int) -> list[SamplePrompt]:
    """`count` of the records, evenly spread, as prompts; those of over `longest` tokens are skipped."""
    found: list[SamplePrompt] = []
    for start in range(min(count, len(records))):
        for place in range(start * len(records) // count, (start + 1) * len(records) // count):
            question = _sample_prompt(records[place], encoder)
            if question is not None and len(question.ids) <= longest:
                found.append(question)
                break
    return found


def _sample_prompt(record: Record, encoder: Encoder) -> SamplePrompt | None:
    if not record.prompt or record.prompt[-1].role != "user":
        return None
    try:
        return SamplePrompt(encoder.prompt_ids(record.prompt), record.prompt[-1].text, record.answer)
    except CamelidError:  # the template cannot render it
        return None


class SampleAnswers:
    """Called with a step: generates and emits a `sample` event for each prompt. An error is logged once, and the run
    goes on without samples."""

    def __init__(
        self, context: TaskContext, model: Any, encoder: Encoder, records: Sequence[Record], count: int, tokens: int
    ) -> None:
        self._context = context
        self._model = model
        self._encoder = encoder
        self._tokens = tokens
        context_length = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        self._prompts = sample_prompts(records, encoder, count, context_length - tokens)
        if count and records and all(record.is_text for record in records):
            context.emit("log", text="The held-out rows are texts without questions, so there are no sample answers.")

    def __call__(self, step: int) -> None:
        if not self._prompts:
            return
        try:
            answers = greedy_answers(self._model, self._encoder, [each.ids for each in self._prompts], self._tokens)
        except Exception as error:  # a look at the model must never cost the run
            self._prompts = []
            reason = str(error).partition("\n")[0] or type(error).__name__
            self._context.emit("log", text=f"This run goes on without sample answers: {reason}")
            return
        for index, (question, answer) in enumerate(zip(self._prompts, answers, strict=True)):
            texts = {"prompt": question.text, "answer": answer, "reference": question.reference}
            self._context.emit(
                "sample", step=step, index=index, **{name: _shorten(text) for name, text in texts.items()}
            )


def greedy_answers(model: Any, encoder: Encoder, prompts: Sequence[Sequence[int]], tokens: int) -> list[str]:
    """Greedy answers of up to `tokens` tokens, as the template parses them; all prompts in one batch.

    Virtual tokens stand before a row's padding, which would separate them from its text: there, each goes alone.
    """
    import torch
    from transformers import GenerationConfig

    stops, texts = _stops(model, encoder)
    pad = encoder.tokenizer.pad_token_id
    config = GenerationConfig(max_new_tokens=tokens, do_sample=False, pad_token_id=pad, eos_token_id=stops or None)
    virtual = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    answers: list[str] = []
    with temporary_eval_mode(model), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Position ids are not supported", UserWarning)
        for batch in [[prompt] for prompt in prompts] if virtual else [prompts]:
            width = max(map(len, batch))
            gaps = [width - len(prompt) for prompt in batch]
            ids = [[pad] * gap + list(prompt) for gap, prompt in zip(gaps, batch, strict=True)]
            mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
            made = model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
            )
            answers += [_decode(row[width:], stops, texts, encoder) for row in made.tolist()]
    return answers


@contextmanager
def temporary_eval_mode(model: Any) -> Iterator[None]:
    """The model in evaluation mode; afterwards random states, dropout and rotary positions are restored."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    stretched = [  # these store the rotary frequencies of the longest text so far
        (module, module.inv_freq, module.max_seq_len_cached)
        for module in model.modules()
        if getattr(module, "rope_type", None) == "dynamic"
    ]
    cards = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(cards), torch.compiler.set_stance("force_eager"):
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
            for module, frequencies, longest in stretched:
                module.register_buffer("inv_freq", frequencies, persistent=False)
                module.max_seq_len_cached = longest


def _stops(model: Any, encoder: Encoder) -> tuple[list[int], list[str]]:
    """Token ids that end an answer, of the model and of the template, and stop texts."""
    own = getattr(model.generation_config, "eos_token_id", None)
    ids = {*encoder.stop_ids, *(own if isinstance(own, list) else [own])}
    return sorted(ids - {None}), [stop for stop in encoder.template.stops if stop not in encoder.special]


def _decode(ids: list[int], stops: Sequence[int], texts: Sequence[str], encoder: Encoder) -> str:
    end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    text = encoder.decode(ids[:end])
    for stop in texts:
        text = text.partition(stop)[0]
    return encoder.template.parse(text)


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + " …"
