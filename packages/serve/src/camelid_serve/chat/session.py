"""A conversation: its history, and the answers that go into it.

Knows turns, retrying and stopping. Knows nothing of terminals or pages.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator

from camelid_core.errors import UsageError
from camelid_core.records import Message

from camelid_serve.engine import Sampling
from camelid_serve.generation import AnswerStats, AnswerStream, generate
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.predict.previews import prompt_text

from .transcripts import Transcript


class ChatSession:
    """One conversation with one model. `tuned` False talks to the bare base; `stats` tells of the last answer."""

    def __init__(
        self, loaded: LoadedModel, sampling: Sampling | None = None, system: str = "", tuned: bool = True
    ) -> None:
        self.loaded = loaded
        self.sampling = sampling or loaded.sampling
        self.system = system
        self.tuned = tuned
        self.turns: list[Message] = []
        self.stats: AnswerStats | None = None
        self._ident = secrets.token_hex(16)
        self._answers: AnswerStream | None = None

    @property
    def messages(self) -> list[Message]:
        """What the model is given: the system text, if any, and all turns."""
        return [*([Message("system", self.system)] if self.system else []), *self.turns]

    def send(self, text: str, context: str = "") -> Generator[str, None, None]:
        """Ask, and stream the answer. Closing the iterator stops it; what came stays in the history.

        Raises:
            ModelError: the conversation is longer than the model takes; the question is not kept.
        """
        self.turns.append(Message("user", text, context))
        try:
            ids = self.loaded.prompt_ids(self.messages)
        except Exception:
            self.turns.pop()
            raise
        return self._stream(ids, self.sampling)

    def retry(self) -> Generator[str, None, None]:
        """Answer the last question anew, with another seed.

        Raises:
            UsageError: nothing was asked yet.
        """
        if self.turns and self.turns[-1].role == "assistant":
            self.turns.pop()
        if not self.turns:
            raise UsageError("nothing was asked yet, so there is nothing to retry.")
        self.sampling = self.sampling.model_copy(update={"seed": self.sampling.seed + 1})
        return self._stream(self.loaded.prompt_ids(self.messages), self.sampling)

    def undo(self) -> None:
        """Forget the last question and its answer.

        Raises:
            UsageError: nothing was asked yet.
        """
        if not self.turns:
            raise UsageError("nothing was asked yet, so there is nothing to undo.")
        while self.turns.pop().role != "user":
            pass

    def exact(self) -> tuple[str, int]:
        """The last question as the model was given it, special tokens and all, and its tokens.

        Raises:
            UsageError: nothing was asked yet.
        """
        if not self.turns:
            raise UsageError("nothing was asked yet; ask something first.")
        asked = self.messages[:-1] if self.turns[-1].role == "assistant" else self.messages
        ids = self.loaded.prompt_ids(asked)
        return prompt_text(self.loaded.encoder, ids), len(ids)

    def transcript(self) -> Transcript:
        """What was said, by whom, and how it was sampled."""
        reference = self.loaded.reference
        about = {
            "template": self.loaded.template.name,
            "sampling": self.sampling.model_dump(mode="json", exclude={"seed"}),
            "seed": self.sampling.seed,
        }
        name = reference.name if self.tuned else reference.base_id
        return Transcript(tuple(self.messages), self._ident, name, about)

    def stop(self) -> None:
        """End the answer under way with what is there. From any thread."""
        if self._answers is not None:
            self._answers.cancel()

    def clear(self) -> None:
        """Forget the conversation; the system text stays."""
        self.turns.clear()
        self.stats = None
        self._ident = secrets.token_hex(16)

    def _stream(self, ids: list[int], sampling: Sampling) -> Generator[str, None, None]:
        said = ""
        self.stats = None
        with generate(self.loaded, [ids], sampling, self.tuned) as self._answers:
            try:
                for delta in self._answers:
                    said += delta.text
                    if delta.stats is not None:
                        said, self.stats = delta.answer, delta.stats
                    if delta.text:
                        yield delta.text
            finally:
                self._answers = None
                self.turns.append(Message("assistant", said))
