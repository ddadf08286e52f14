"""A loaded model as lm-evaluation-harness knows models (`lm_eval.api.model.TemplateLM`).

Knows the harness's three kinds of requests and how its Hugging Face model tokenises and truncates them, which is
repeated here so that results are the same. Knows nothing of tasks or files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from camelid_core.errors import UsageError
from camelid_core.records import Message, Role
from camelid_serve.continuations import score_continuations
from camelid_serve.engine import Continuation, PromptTooLong, Sampling, TokenLogprob
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import has_bos_prefix, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "no_repeat_ngram_size", "num_beams")
"""Generation settings that mean the same in a task and in `Sampling`."""
_READ_ELSEWHERE = ("do_sample", "until", "max_gen_toks", "use_cache")
"""Settings that are not among the sampling parameters, or change no answer."""

Pair = tuple[Any, list[int], list[int]]
"""The texts of a request, the ids of its context, and those of its continuation."""


def message_of(values: Mapping[str, str]) -> Message:
    """A message as the harness writes it.

    Raises:
        UsageError: a role that no template has.
    """
    role = values["role"]
    if role not in ("system", "user", "assistant"):
        raise UsageError(f"the task has a message of {role!r}; known are system, user and assistant.")
    return Message(cast(Role, role), values["content"])


class HarnessModel(TemplateLM):
    """`loaded` answers the harness's requests; `most_new_tokens` replaces what tasks say of that. `tokens` counts those
    that were read or generated.

    The harness leaves out the beginning of what is too long. Here it is an error, which `check` raises.
    """

    def __init__(self, loaded: LoadedModel, most_new_tokens: int | None = None) -> None:
        super().__init__()
        self.tokenizer = loaded.encoder.tokenizer
        self.tokens = 0
        self._loaded = loaded
        self._most_new_tokens = most_new_tokens
        self._rendered: dict[str, list[int]] = {}

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def max_length(self) -> int:
        return self._loaded.engine.context_length

    @property
    def tokenizer_name(self) -> str:
        return self._loaded.resolved.name

    def chat_template(self, chat_template: bool | str = False) -> str:
        """What the harness records as the template: its name here."""
        return self._loaded.template.name if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation in this model's template. Its token ids are those of training, whatever its text says.

        Raises:
            TemplateError: the template has no form for it.
        """
        messages = [message_of(each) for each in chat_history]
        ids = self._loaded.prompt_ids(messages)
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        self._rendered[text] = ids
        return str(text)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if string in self._rendered:
            return list(self._rendered[string])
        if add_special_tokens is None and has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **options))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        if context in self._rendered:  # control tokens end it: nothing of the continuation merges with it
            return self.tok_encode(context), self.tok_encode(continuation, add_special_tokens=False)
        return super()._encode_pair(context, continuation)

    def check(self, request: Instance) -> None:
        """Refuse a request that is too long, or that sets what is not known.

        Raises:
            PromptTooLong: the model does not take so much.
            UsageError: a generation setting that is not known.
        """
        if request.request_type == "generate_until":
            ids, sampling = self._generation(*request.args)
            length = len(ids) + sampling.max_new_tokens
        elif request.request_type == "loglikelihood" and request.args[0]:
            length = sum(map(len, self._encode_pair(*request.args))) - 1  # the last token is only predicted
        else:
            return
        if length > self.max_length:
            raise PromptTooLong(length, self.max_length)

    def _loglikelihood_tokens(self, requests: Sequence[Pair], **_: Any) -> list[tuple[float, bool]]:
        """Of each continuation the sum of its tokens' log-probabilities, and whether greedy decoding gives it."""
        answers: list[tuple[float, bool]] = [(0.0, True)] * len(requests)

        def take(index: int, logprobs: list[TokenLogprob]) -> None:
            answers[index] = sum(one.logprob for one in logprobs), all(one.top[0][0] == one.token for one in logprobs)

        asked = [Continuation(context, continuation) for _, context, continuation in requests]
        score_continuations(self._loaded.engine, asked, self._loaded.adapter, take)
        self.tokens += sum(len(each.prompt) + len(each.ids) for each in asked)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in windows of the context length."""
        windows = [list(self._windows(request.args[0])) for request in requests]
        scores = iter(self._loglikelihood_tokens([(None, *pair) for each in windows for pair in each]))
        return [sum(next(scores)[0] for _ in each) for each in windows]

    def _windows(self, text: str) -> Iterator[tuple[list[int], list[int]]]:
        found = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, self.max_length, context_len=1)
        return map(make_disjoint_window, found)

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers up to the task's stop texts."""
        asked = [self._generation(*request.args) for request in requests]
        answers = [""] * len(requests)
        for delta in generate(self._loaded, [ids for ids, _ in asked], [each for _, each in asked], plain=True):
            if delta.stats is not None:
                self.tokens += delta.stats.tokens
                stops = list(asked[delta.index][1].stop)
                answers[delta.index] = postprocess_generated_text(delta.answer, stops, think_end_token=None)
        return answers

    def _generation(self, context: str, settings: Mapping[str, Any]) -> tuple[list[int], Sampling]:
        normal = normalize_gen_kwargs(dict(settings))
        unknown = {name for name, value in normal.items() if value is not None} - {*_SAMPLING, *_READ_ELSEWHERE}
        if unknown:
            raise UsageError(
                f"the task sets {', '.join(sorted(unknown))} for generation, which is not known here. "
                f"Known are max_gen_toks, until and {', '.join(_SAMPLING)}."
            )
        values = {name: normal[name] for name in _SAMPLING if normal.get(name) is not None}
        longest = self._most_new_tokens or normal["max_gen_toks"]
        stops = tuple(each for each in normal["until"] or () if each)
        return self.tok_encode(context), Sampling(**values, max_new_tokens=longest, stop=stops)
