"""A chat session: the message history of one conversation and the answers generated for it.

Knows turns, regeneration and cancellation. Knows nothing of terminals or pages.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator

from camelid_core.errors import UsageError
from camelid_core.records import Message

from camelid_serve.answers import AnswerStats
from camelid_serve.engine import Sampling
from camelid_serve.generation import AnswerStream, continuation_ids, generate
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.predict.previews import prompt_text

from .transcripts import Transcript


class ChatSession:
    """One conversation with one model. `tuned` False switches the adapter off; `stats` are those of the last answer.
    Every answer begins with `prefill`, which the model continues."""

    def __init__(
        self,
        loaded: LoadedModel,
        sampling: Sampling | None = None,
        system: str = "",
        tuned: bool = True,
        prefill: str = "",
    ) -> None:
        self.loaded = loaded.side(tuned)
        self.sampling = sampling or loaded.sampling
        self.system = system
        self.tuned = tuned
        self.prefill = prefill
        self.turns: list[Message] = []
        self.stats: AnswerStats | None = None
        self._prefills: dict[int, str] = {}  # of the answers, by their place among the turns
        self._id = secrets.token_hex(16)
        self._answers: AnswerStream | None = None

    @property
    def messages(self) -> list[Message]:
        """What the model is given: the system message, if any, and all turns."""
        return [*([Message("system", self.system)] if self.system else []), *self.turns]

    def send(self, text: str, context: str = "") -> Generator[str, None, None]:
        """Add a user message and stream the answer. Closing the iterator cancels it; the partial answer is kept.

        Raises:
            ModelError: the conversation exceeds the context length; the message is not kept.
        """
        self.turns.append(Message("user", text, context))
        try:
            return self._stream(*self._given_ids(self.prefill), self.sampling)
        except Exception:
            self.turns.pop()
            raise

    def retry(self) -> Generator[str, None, None]:
        """Regenerate the answer to the last user message, with another seed.

        Raises:
            UsageError: nothing was asked yet.
        """
        if self.turns and self.turns[-1].role == "assistant":
            self.turns.pop()
        if not self.turns:
            raise UsageError("nothing was asked yet, so there is nothing to retry.")
        self.sampling = self.sampling.model_copy(update={"seed": self.sampling.seed + 1})
        return self._stream(*self._given_ids(self.prefill), self.sampling)

    def undo(self) -> None:
        """Remove the last user message and its answer.

        Raises:
            UsageError: nothing was asked yet.
        """
        if not self.turns:
            raise UsageError("nothing was asked yet, so there is nothing to undo.")
        while self.turns.pop().role != "user":
            pass

    def last_prompt(self) -> tuple[str, int]:
        """The last prompt as the model was given it, with control tokens, and its length in tokens.

        Raises:
            UsageError: nothing was asked yet.
        """
        if not self.turns:
            raise UsageError("nothing was asked yet; ask something first.")
        answered = self.turns[-1].role == "assistant"
        prompt, begun = self._given_ids(self._prefills.get(len(self.turns) - 1, ""), -1 if answered else None)
        return prompt_text(self.loaded.encoder, [*prompt, *begun]), len(prompt) + len(begun)

    def transcript(self) -> Transcript:
        """The messages, the model and the sampling parameters."""
        resolved = self.loaded.resolved
        metadata = {
            "template": self.loaded.template.name,
            "sampling": self.sampling.model_dump(mode="json", exclude={"seed"}),
            "seed": self.sampling.seed,
        }
        name = resolved.name if self.tuned else resolved.base_id
        return Transcript(tuple(self.messages), self._id, name, metadata)

    def stop(self) -> None:
        """Cancel the running answer; the partial answer is kept. From any thread."""
        if self._answers is not None:
            self._answers.cancel()

    def clear(self) -> None:
        """Clear the history; the system message stays."""
        self.turns.clear()
        self.stats = None
        self._prefills.clear()
        self._id = secrets.token_hex(16)

    def _given_ids(self, prefill: str, end: int | None = None) -> tuple[list[int], list[int]]:
        """Token ids of the prompt that the messages up to `end` make, and of the beginning of the answer to it."""
        begun = [Message("assistant", prefill)] if prefill.strip() else []
        return continuation_ids(self.loaded, [*self.messages[:end], *begun], ())

    def _stream(self, ids: list[int], begun: list[int], sampling: Sampling) -> Generator[str, None, None]:
        answer = ""
        self.stats = None
        self._prefills[len(self.turns)] = self.prefill
        with generate(self.loaded, [ids], sampling, self.tuned, prefix_ids=[begun]) as self._answers:
            try:
                for delta in self._answers:
                    answer += delta.text
                    if delta.stats is not None:
                        answer, self.stats = delta.answer, delta.stats
                    if delta.text:
                        yield delta.text
            finally:
                self._answers = None
                self.turns.append(Message("assistant", answer))
