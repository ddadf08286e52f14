"""Every kind of server gets requests in its own wire format, and its answers are read.

vLLM, SGLang and Ollama do not run here: these are the shapes of their sources and documentation.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from camelid_core.errors import ModelError
from camelid_openai_engine.flavours import FLAVOURS
from camelid_openai_engine.loading import connect
from camelid_openai_engine.options import ClientOptions
from camelid_openai_engine.text_to_ids import ContinuationEncoder, StreamingEncoder
from camelid_serve.engine import Request, Sampling, TokenLogprob
from hypothesis import given, settings
from hypothesis import strategies as st

from .upstreams import Answer, lines, models, ok, sse, upstream

SAMPLING = Sampling(max_new_tokens=3, temperature=0.5, top_p=0.9, top_k=0, repetition_penalty=1.1, seed=-5)
SEED = -5 & 0x7FFFFFFF


def choice(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": None, **more}]}


def ask(resolved: Any, owner: str, stream: Answer, request: Request, context: dict[str, Any] | None = None) -> Any:
    """Path and body of a request, and the events of its answer. It is the second one: the first is a probe."""

    def respond(path: str, body: Any) -> Answer:
        return models(owner, "tiny", max_model_len=256) if path == "/v1/models" else ok(context) if not body else stream

    with upstream(respond) as (url, asked):
        engine = connect(resolved, "auto", 2, ClientOptions(url=url), lambda text: None)
        try:
            events = list(engine.stream([request]))
        finally:
            engine.close()
        return asked[-1][0], asked[-1][1], events, engine


def test_vllm(resolved: Any) -> None:
    likely = {"token_id:65": -0.5, "token_id:7": -1.5}
    logprobs = {"tokens": ["token_id:65"], "token_logprobs": [-0.5], "top_logprobs": [likely]}
    stream = sse(
        choice("A", token_ids=[65], prompt_token_ids=[1, 2], logprobs=logprobs),
        choice("B", "length", token_ids=[66]),
        {"choices": [], "usage": {"total_tokens": 4}},
    )
    request = Request([1, 2], SAMPLING, None, frozenset({9, 8}), 1)
    path, body, events, engine = ask(resolved, "vllm", stream, request)
    assert path == "/v1/completions"
    assert body == {
        "model": "tiny", "prompt": [1, 2], "stream": True, "max_tokens": 3, "temperature": 0.5, "top_p": 0.9,
        "top_k": 0, "min_p": 0, "repetition_penalty": 1.1, "seed": SEED, "return_token_ids": True, "logprobs": 1,
        "return_tokens_as_token_ids": True, "stop_token_ids": [8, 9],
    }  # fmt: skip
    assert [(event.token, event.finish) for event in events] == [(65, None), (66, None), (None, "length")]
    assert events[0].token_logprob == TokenLogprob(65, -0.5, ((65, -0.5), (7, -1.5)))
    assert engine.context_length == 256


def test_sglang(resolved: Any, tiny: Any) -> None:
    text = tiny.encoder.decode([70])
    logprobs = {"tokens": ["?"], "token_logprobs": [-0.5], "top_logprobs": [{text: -0.5, "no such token at all": -2.0}]}
    stream = sse(choice("", token_ids=[]), choice(text, "stop", token_ids=[70], logprobs=logprobs))
    _, body, events, _ = ask(resolved, "sglang", stream, Request([1, 2], SAMPLING, None, frozenset({9}), 2))
    assert (body["top_k"], body["prompt"], body["logprobs"], body["stop_token_ids"]) == (-1, [1, 2], 2, [9])
    assert body["return_token_ids"] is True
    assert [(event.token, event.finish) for event in events] == [(70, None), (None, "stop")]
    assert events[0].token_logprob == TokenLogprob(70, -0.5, ((70, -0.5),))


def test_llama_server(resolved: Any) -> None:
    worth = {"id": 65, "token": "A", "logprob": -0.5, "top_logprobs": [{"id": 65, "token": "A", "logprob": -0.5}]}
    stream = sse(
        {"content": "A", "tokens": [65], "stop": False, "completion_probabilities": [worth]},
        {"content": "B", "tokens": [66], "stop": False},
        {"content": "", "tokens": [], "stop": True, "stop_type": "limit", "tokens_predicted": 2},
    )
    props = {"default_generation_settings": {"n_ctx": 128}}
    path, body, events, engine = ask(
        resolved, "llamacpp", stream, Request([1, 2], SAMPLING, None, frozenset(), 0), props
    )
    assert path == "/completion"
    assert body == {
        "prompt": [1, 2], "stream": True, "n_predict": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 0,
        "repeat_penalty": 1.1, "seed": SEED, "return_tokens": True, "min_p": 0.0, "repeat_last_n": 128, "n_probs": 1,
    }  # fmt: skip
    assert [(event.token, event.finish) for event in events] == [(65, None), (66, None), (None, "length")]
    assert events[0].token_logprob == TokenLogprob(65, -0.5, ((65, -0.5),))
    assert engine.context_length == 128


def test_ollama(resolved: Any, tiny: Any) -> None:
    prompt = tiny.encoder.tokenizer("How many pens?")["input_ids"]
    stream = lines(
        {"model": "tiny", "response": "The answer", "done": False},
        {"model": "tiny", "response": " is 7.", "done": False},
        {"model": "tiny", "response": "", "done": True, "done_reason": "stop", "eval_count": 5},
    )
    path, body, events, _ = ask(resolved, "library", stream, Request(prompt, SAMPLING))
    assert path == "/api/generate"
    assert (body["prompt"], body["raw"], body["stream"], body["model"]) == ("How many pens?", True, True, "tiny")
    assert body["options"] == {
        "num_predict": 3, "temperature": 0.5, "top_p": 0.9, "top_k": 0, "repeat_penalty": 1.1, "seed": SEED,
        "num_ctx": 256, "min_p": 0.0, "repeat_last_n": 256,
    }  # fmt: skip
    said = [event.token for event in events if event.token is not None]
    assert said == tiny.encoder.tokenizer("The answer is 7.")["input_ids"]
    assert events[-1].finish == "stop"
    with pytest.raises(ModelError, match="Ollama tells no token ids, so no probabilities"):
        ask(resolved, "library", stream, Request(prompt, logprobs=1))


def test_any_other_server_gets_text_where_it_refuses_ids(resolved: Any, tiny: Any) -> None:
    told: list[str] = []

    def respond(path: str, body: Any) -> Answer:
        if body is None:
            return models("someone", "theirs")
        if not isinstance(body["prompt"], str):
            return 422, {}, b'{"detail": "prompt: a string is needed"}'
        return sse(choice("pens"), choice("", "stop"))

    with upstream(respond) as (url, asked):
        engine = connect(resolved, "auto", 2, ClientOptions(url=url), told.append)
        ids = tiny.encoder.tokenizer("How many")["input_ids"]
        events = list(engine.stream([Request(ids)]))
        with pytest.raises(ModelError, match="has no setting 'repetition_penalty'; leave it off"):
            engine.stream([Request(ids, SAMPLING)])
        engine.close()
    assert asked[-1][1] == {
        "model": "theirs", "prompt": "How many", "stream": True, "max_tokens": 256, "temperature": 0.0, "top_p": 1.0,
        "seed": 0,
    }  # fmt: skip
    assert [event.token for event in events[:-1]] == tiny.encoder.tokenizer("pens")["input_ids"]
    assert told[-1] == "any server like OpenAI's takes no token ids; prompts are written out as text."


def test_a_server_too_old_for_ids_is_treated_as_text(resolved: Any, tiny: Any) -> None:
    _, _, events, _ = ask(resolved, "vllm", sse(choice("pens", "length")), Request([1]))
    assert [event.token for event in events[:-1]] == tiny.encoder.tokenizer("pens")["input_ids"]


def test_a_line_within_a_text_is_no_end_of_a_line(resolved: Any, tiny: Any) -> None:
    text = "a\u2028b\x85c"
    _, _, events, _ = ask(resolved, "", sse(choice(text, "stop")), Request([1]))
    assert tiny.encoder.decode([event.token for event in events[:-1]]) == text


@given(text=st.text(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=60)
def test_text_in_pieces_is_that_text_in_tokens(tiny: Any, text: str, cuts: list[int]) -> None:
    text = "".join(char for char in text if not 0xD800 <= ord(char) < 0xE000)
    encoder, prompt = ContinuationEncoder(tiny.encoder.tokenizer), [70, 80]
    recoder = StreamingEncoder(encoder, prompt)
    ends = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    given_out: list[int] = []
    for start, end in pairwise(ends):
        given_out += recoder.push(text[start:end])
    given_out += recoder.finish()
    assert encoder.decode(given_out, prompt) == text


@pytest.mark.parametrize("text", ["world", " world", "  world", "\n world", "w"])
def test_a_text_that_goes_on_is_encoded_as_it_stands(text: str) -> None:
    """A tokenizer that puts a space before every text, as Llama-2's, puts none in the middle."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<0x0A>", "▁", *"helowrd"]
    backend = Tokenizer(
        models.BPE({piece: at for at, piece in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>")
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    encoder, prompt = ContinuationEncoder(tokenizer), tokenizer("hello")["input_ids"]
    assert tokenizer.decode([*prompt, *encoder.encode(text, prompt)]) == "hello" + text


def test_the_table_is_whole() -> None:
    assert list(FLAVOURS)[-1] == "openai"
    for flavour in FLAVOURS.values():
        assert flavour.exact.endswith(".")
        assert {"max_new_tokens", "temperature", "top_p", "seed"} <= set(flavour.fields)
        assert (flavour.launch is None) == (flavour.name == "openai")
    owners = [flavour.owned_by for flavour in FLAVOURS.values() if flavour.owned_by]
    assert len(owners) == len(set(owners))
