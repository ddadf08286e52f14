"""The engine for GGUF files: continuous batching on one model, through llama.cpp.

Knows which requests are admitted and which wait when the KV cache is full. Knows nothing of threads, text or templates,
save that a tokenizer that was made from a file's metadata must tokenise as llama.cpp does.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from typing import Any

from camelid_core.errors import ModelError, UnknownName
from camelid_core.models.gguf import has_tokenizer_file, is_gguf
from camelid_core.models.loading import Dtype, load_tokenizer
from camelid_core.models.resolved_model import ResolvedModel
from camelid_serve.engine import Request, TakeRows, TokenLogprob
from camelid_serve.engines.logprobs import take_logprobs, token_logprob
from camelid_serve.engines.model_thread import ModelThread
from camelid_serve.engines.token_stream import fail

from .decode_batch import LlamaBatch, LlamaTicket
from .model import BatchToken, CacheFull, GgufModel

_MAX_SLOTS = 64
"""Most slots: llama.cpp allows 256, and long before that more of them are no faster. Also: `--parallel`."""
_LOGPROBS_CHUNK = 128
_PROBE = "Tom's 3 boxes hold 12,345 pens.\n\n  Größe: x_y = f(a[0]) != 7;\tI'LL say: 答案是7。 naïve — 😀\r\n"
"""Text that shows differences between tokenizers."""


def load(resolved: ResolvedModel, dtype: Dtype = "auto", slots: int = 16) -> LlamaEngine:
    """The GGUF file of `resolved`, ready to run `slots` requests at once.

    Raises:
        ModelError: it is none, llama.cpp cannot load it, or its tokenizer could not be made as it should be.
        MissingPackage: llama.cpp is not here.
    """
    if not is_gguf(resolved.base):
        raise ModelError(f"engine 'llamacpp' runs GGUF files, and {resolved.name!r} is none; leave out the engine.")
    slots = min(slots, _MAX_SLOTS)
    model = GgufModel(resolved.base, slots + 1, dtype)
    try:
        if not has_tokenizer_file(resolved.base):
            _check_tokenizer(resolved, model)
    except BaseException:
        model.close()
        raise
    return LlamaEngine(model, slots)


def _check_tokenizer(resolved: ResolvedModel, model: GgufModel) -> None:
    expected = model.tokenise(_PROBE)
    found: list[int] = load_tokenizer(resolved)(_PROBE, add_special_tokens=False)["input_ids"]
    if expected is not None and found != expected:
        raise ModelError(
            f"{str(resolved.base)!r} cuts text in a way that its metadata alone does not tell; put the model's "
            "tokenizer.json and tokenizer_config.json beside it."
        )


class LlamaEngine(ModelThread[LlamaTicket]):
    """Streams opened from several threads share a batch; the model lives as long as the thread that owns it."""

    _ticket = LlamaTicket
    adapters: tuple[str, ...] = ()

    def __init__(self, model: GgufModel, slots: int) -> None:
        super().__init__("llama.cpp")
        self.context_length = model.context_length
        self._vocabulary = model.vocabulary
        self._model = model
        self._batch = LlamaBatch(model, slots)
        self._start()

    def prompt_logprobs(self, ids: Sequence[int], adapter: str | None, top: int) -> list[TokenLogprob]:
        """Of every token of `ids` after the first, and last of the token that the model would choose to come next."""
        self._check_all([Request(ids, adapter=adapter)])
        return self._call_between_steps(lambda: self._prompt_logprobs(ids, top))

    def next_token_logprobs(self, ids: Sequence[int], adapter: str | None, first: int, take: TakeRows) -> None:
        """Give `take` the log-probabilities of all tokens after each token of `ids`, from position `first` on."""
        self._check_all([Request(ids, adapter=adapter)])

        def run() -> None:
            with closing(self._prompt_logits(ids, first)) as pieces:
                for _, logits in pieces:
                    take_logprobs(logits, take)

        self._call_between_steps(run)

    def _check(self, request: Request) -> None:
        if request.adapter is not None:
            raise UnknownName("adapter", request.adapter, self.adapters)
        if request.sampling.num_beams > 1:
            raise ModelError("llama.cpp has no beam search; leave out num_beams, or use engine transformers.")
        if request.ids and not 0 <= min(request.ids) <= max(request.ids) < self._vocabulary:
            raise ModelError(f"the prompt has token ids that this model has not: it has {self._vocabulary:,}.")

    def _running_tickets(self) -> Collection[LlamaTicket]:
        return self._batch.tickets

    def _unload(self) -> None:
        self._model.close()

    def _step(self) -> None:
        try:
            self._admit()
            self._requeue(self._batch.step())
        except Exception as error:  # it goes to the streams of the running requests
            fail(self._batch.clear_all(), error)

    def _admit(self) -> None:
        """Admit the requests that have waited longest."""
        while True:
            with self._condition:
                ticket = self._waiting.popleft() if self._waiting else None
            if ticket is None:
                return
            if not self._batch.admit(ticket):
                self._requeue([ticket])
                return

    def _requeue(self, tickets: Sequence[LlamaTicket]) -> None:
        with self._condition:
            self._waiting.extendleft(tickets)

    def _prompt_logprobs(self, ids: Sequence[int], top: int) -> list[TokenLogprob]:
        following = [*ids[1:], None]
        with closing(self._prompt_logits(ids)) as pieces:
            return [
                _token_logprob(row, token, top)
                for start, logits in pieces
                for row, token in zip(logits, following[start:], strict=False)
            ]

    def _prompt_logits(self, ids: Sequence[int], first: int = 0) -> Generator[tuple[int, Any], None, None]:
        """Logits after each token of a prompt from position `first` on, in pieces, each with its own first position."""
        slot = self._batch.spare_slot
        try:
            for start in range(0, len(ids), _LOGPROBS_CHUNK):
                piece = enumerate(ids[start : start + _LOGPROBS_CHUNK], start)
                yield (
                    max(start, first),
                    self._batch.decode([BatchToken(token, at, slot, at >= first) for at, token in piece]),
                )
        except CacheFull:
            raise ModelError("the model's cache is full of other requests; ask again.") from None
        finally:
            self._batch.evict(slot)


def _token_logprob(logits: Any, token: int | None, top: int) -> TokenLogprob:
    return token_logprob(logits, int(logits.argmax()) if token is None else token, top)
