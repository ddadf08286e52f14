"""Responses in OpenAI's JSON: chat completions and completions, whole and in chunks.

Knows JSON. Knows nothing of requests, engines and connections.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

_MIN_LOGPROB = -9999.0
"""The log-probability of an impossible token: JSON has no infinity."""


def usage(done: Mapping[str, Any]) -> dict[str, int]:
    prompt = sum(each["tokens"] for each in done["prompts"])
    answer = sum(row["facts"]["tokens"] for row in done["rows"] if row)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


class _OpenAIFormat:
    prefix = kind = chunk_kind = ""

    def __init__(self, model: str, logprobs: bool, with_usage: bool) -> None:
        self._id = f"{self.prefix}-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._model = model
        self._logprobs = logprobs
        self._with_usage = with_usage

    def _object(self, kind: str, choices: list[dict[str, Any]], counted: Mapping[str, int] | None) -> dict[str, Any]:
        common = {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}
        return common | ({"usage": counted} if kind == self.kind or self._with_usage else {})

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return self._object(self.chunk_kind, [choice], None)

    def _last(self, done: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [self._object(self.chunk_kind, [], usage(done))] if self._with_usage else []


class ChatFormat(_OpenAIFormat):
    prefix, kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, model: str, count: int, logprobs: bool, with_usage: bool) -> None:
        super().__init__(model, logprobs, with_usage)
        self._count = count

    def full_response(self, done: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": row["answer"], "refusal": None},
                "logprobs": self._probabilities(row.get("scored", ())),
                "finish_reason": finish_reason(row["facts"]["finish"]),
            }
            for index, row in enumerate(done["rows"])
        ]
        return self._object(self.kind, choices, usage(done))

    def chunks(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        if event["event"] == "begun":
            start = {"role": "assistant", "content": ""}
            return [self._part(index, start) for index in range(self._count)]
        if event["event"] == "delta":
            return self._delta(event)
        return self._last(event) if event["event"] == "done" else []

    def _delta(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        index, token_logprobs = event["index"], event.get("scored", ())
        parts = (
            [self._part(index, {"content": event["text"]}, token_logprobs)] if event["text"] or token_logprobs else []
        )
        finish = event.get("finish")
        return [*parts, *([self._part(index, {}, finish=finish)] if finish else [])]

    def _part(
        self, index: int, delta: dict[str, Any], token_logprobs: Sequence[Any] = (), finish: str | None = None
    ) -> dict[str, Any]:
        probabilities = self._probabilities(token_logprobs) if token_logprobs else None
        reason = finish_reason(finish) if finish else None
        return self._chunk({"index": index, "delta": delta, "logprobs": probabilities, "finish_reason": reason})

    def _probabilities(self, token_logprobs: Sequence[Any]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        content = [
            _token(one["text"], one["logprob"], one["bytes"]) | {"top_logprobs": [_token(*each) for each in one["top"]]}
            for one in token_logprobs
        ]
        return {"content": content, "refusal": None}


class CompletionFormat(_OpenAIFormat):
    prefix, kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str, count: int, logprobs: bool, with_usage: bool, echo: bool) -> None:
        super().__init__(model, logprobs, with_usage)
        self._count = count
        self._echo = echo
        self._prompt_lengths: dict[int, int] = {}  # of echoed prompts, by choice, in characters

    def full_response(self, done: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        choices = []
        prompts = self._each(done["prompts"])
        for index, row in enumerate(done["rows"]):
            prompt = prompts[index] if self._echo else {}
            text = prompt.get("text", "") + row["answer"]
            self._prompt_lengths[index] = len(prompt.get("text", ""))
            token_logprobs = [*prompt.get("scored", ()), *self._behind_prompt(index, row.get("scored", ()))]
            choices.append(
                self._choice(index, text, token_logprobs, row["facts"]["finish"], row.get("ids"), prompts[index])
            )
        return self._object(self.kind, choices, usage(done)) | {"usage": usage(done)}

    def chunks(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        if event["event"] == "begun":
            first = [
                self._choice(index, prompt.get("text", ""), prompt.get("scored", ()), prompt=prompt)
                for index, prompt in enumerate(self._each(event["prompts"]))
            ]
            self._prompt_lengths = {choice["index"]: len(choice["text"]) for choice in first}
            return [self._chunk(choice) for choice in first if self._echo or "prompt_token_ids" in choice]
        if event["event"] == "delta":
            token_logprobs = self._behind_prompt(event["index"], event.get("scored", ()))
            choice = self._choice(event["index"], event["text"], token_logprobs, event.get("finish"), event.get("ids"))
            return [self._chunk(choice)]
        return self._last(event) if event["event"] == "done" else []

    def _object(self, kind: str, choices: list[dict[str, Any]], counted: Mapping[str, int] | None) -> dict[str, Any]:
        whole = super()._object(kind, choices, counted)
        if counted is None and not self._with_usage:
            whole.pop("usage", None)
        return whole

    def _each(self, prompts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The prompt of every choice."""
        return [prompt for prompt in prompts for _ in range(self._count)]

    def _behind_prompt(self, index: int, token_logprobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """An answer's tokens, with offsets in the whole text shown."""
        start = self._prompt_lengths.get(index, 0)
        return [{**one, "offset": start + one["offset"]} for one in token_logprobs]

    def _choice(
        self,
        index: int,
        text: str,
        token_logprobs: Sequence[Any],
        finish: str | None = None,
        ids: Sequence[int] | None = None,
        prompt: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One choice, with token ids where the request has them: of the new text, and of the prompt if it is given."""
        probabilities = self._probabilities(token_logprobs) if self._logprobs else None
        reason = finish_reason(finish) if finish else None
        choice = {"index": index, "text": text, "logprobs": probabilities, "finish_reason": reason}
        token_ids = {"prompt_token_ids": (prompt or {}).get("ids"), "token_ids": ids}
        return choice | {name: list(tokens) for name, tokens in token_ids.items() if tokens is not None}

    @staticmethod
    def _probabilities(token_logprobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The sampled token is also among its position's likeliest ones, as clients that look for the best expect."""
        logprobs = [one["logprob"] for one in token_logprobs]
        return {
            "tokens": [one["text"] for one in token_logprobs],
            "token_logprobs": [None if logprob is None else _finite(logprob) for logprob in logprobs],
            "top_logprobs": [_top_logprobs(one) for one in token_logprobs],
            "text_offset": [one["offset"] for one in token_logprobs],
        }


def finish_reason(finish: str) -> str:
    return "length" if finish == "length" else "stop"


def _top_logprobs(one: Mapping[str, Any]) -> dict[str, float] | None:
    if one["logprob"] is None:
        return None
    return {one["text"]: _finite(one["logprob"])} | {text: _finite(logprob) for text, logprob, _ in one["top"]}


def _token(text: str, logprob: float, own: Sequence[int]) -> dict[str, Any]:
    """`own` are the token's bytes: it may be a part of a character."""
    return {"token": text, "logprob": _finite(logprob), "bytes": list(own)}


def _finite(logprob: float) -> float:
    return max(logprob, _MIN_LOGPROB)
