"""An answer's text, its tokens and their places fit what stands before it, whatever the tokenizer does with spaces,
characters and control tokens."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model, tiny_tokenizer
from camelid_core.tokenization.token_decoder import TokenDecoder
from camelid_serve.config import EngineConfig
from camelid_serve.engine import Sampling, TokenLogprob
from camelid_serve.engine_process.completion_request import CompletionRun
from camelid_serve.engine_process.messages import CompleteCommand
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel, load_model
from camelid_serve.text_stream import Detokeniser, TextStream
from camelid_serve.token_names import TokenNames
from hypothesis import given
from hypothesis import strategies as st

WORDS = ["hello", "world", "how", "天空", "🎉🎊", "é", "  indented", "x"]


@functools.cache
def llama_tokenizer() -> Any:
    """As Llama-2's: a space before every text that decoding drops again, and bytes for what it does not know."""
    from tokenizers import Tokenizer, decoders, models, normalizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"helowrd", "lo", "▁w"]
    backend = Tokenizer(
        models.BPE(
            vocab={piece: place for place, piece in enumerate(pieces)},
            merges=[("l", "o"), ("▁", "w")],
            byte_fallback=True,
            fuse_unk=True,
            unk_token="<unk>",
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def tokenizer_of(kind: str) -> Any:
    return llama_tokenizer() if kind == "llama" else tiny_tokenizer()


kinds = st.sampled_from(["llama", "bytes"])
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


@given(kinds, texts, st.data())
def test_a_text_cut_anywhere_is_that_text(kind: str, text: str, data: st.DataObject) -> None:
    """Prompt and answer, each decoded in its place, join to the text; so do the pieces and, save for parts of
    characters, the names."""
    tokenizer = tokenizer_of(kind)
    decoder = TokenDecoder(tokenizer)
    ids = tokenizer(text)["input_ids"]
    cuts = [at for at in range(1, len(ids)) if decoder.whole_characters(ids[:at]) == at]
    cut = data.draw(st.sampled_from(cuts or [len(ids)]))
    before, answer = ids[:cut], ids[cut:]
    stream, names, shown = Detokeniser(decoder, before), TokenNames(decoder, before), ""
    for token in answer:
        told = names.describe(TokenLogprob(token, -1.0, ((token, -1.0),)))
        piece = stream.push(token)
        assert told["offset"] == len(shown)
        assert bytes(told["bytes"]) == decoder.bytes_of(token)
        assert told["text"] == piece or told["text"].startswith("bytes:")
        shown += piece
    shown += stream.finish()
    said = tokenizer.decode([token for token in before if token not in decoder.special])
    assert said + shown == text
    assert decoder.text_after(before, answer) == shown
    assert b"".join(map(decoder.bytes_of, answer)).decode() == shown or not said


@given(kinds, st.lists(st.integers(0, 255), min_size=1, max_size=6))
def test_no_two_tokens_share_a_name(kind: str, others: list[int]) -> None:
    decoder = TokenDecoder(tokenizer_of(kind))
    likeliest = tuple((token, -float(place)) for place, token in enumerate(dict.fromkeys([*others, 200])))
    told = TokenNames(decoder, [70]).describe(TokenLogprob(200, -0.5, likeliest))
    named = dict.fromkeys([told["text"], *(name for name, _, _ in told["top"])])
    assert len(named) == len(likeliest)
    assert [bytes(own) for _, _, own in told["top"]] == [decoder.bytes_of(token) for token, _ in likeliest]


@pytest.mark.parametrize("kind", ["llama", "bytes"])
@pytest.mark.parametrize("text", ["hello world 🎉", " hello", "hello"])
def test_tokens_of_a_prompt_stand_where_they_are_in_it(kind: str, text: str) -> None:
    """Control tokens that the tokenizer adds are no part of what was written."""
    tokenizer = tokenizer_of(kind)
    names = TokenNames(TokenDecoder(tokenizer), written=text)
    told = [names.describe(TokenLogprob(token, 0.0)) for token in tokenizer(text)["input_ids"]]
    whole = [one for one in told if not one["text"].startswith("bytes:")]
    assert [text[one["offset"] :].startswith(one["text"]) for one in whole] == [True] * len(whole)
    assert text.isascii() is False or "".join(one["text"] for one in told) == text


@pytest.mark.parametrize(
    ("stop", "shown"),
    [
        ("<|im_start|>", "so "),
        ("<|im_start|>user", "so "),
        ("so <|im_start|>", ""),
        ("<|im_start|>nobody", "so user"),
    ],
)
def test_control_tokens_in_a_stop_text_are_seen(stop: str, shown: str) -> None:
    tokenizer = tiny_tokenizer()
    stream = TextStream(TokenDecoder(tokenizer), [stop])
    text = "".join(map(stream.push, tokenizer("so <|im_start|>user")["input_ids"])) + stream.finish()
    assert (text, stream.stopped) == (shown, shown != "so user")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    directory = tiny_model(tmp_path_factory.mktemp("models") / "llama", tokenizer=llama_tokenizer())
    loaded = load_model(str(directory), load_host(), EngineConfig(template="alpaca", slots=4, dtype="float32"))
    yield loaded
    loaded.close()


def complete(loaded: LoadedModel, **fields: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    sampling = Sampling(max_new_tokens=12, **fields.pop("sampling", {}))
    command = CompleteCommand(model="", sampling=sampling, **fields)
    with ThreadPoolExecutor(1) as long_prompts:
        CompletionRun(loaded, command, lambda **event: events.append(event), long_prompts).run()
    return events


def test_a_completion_goes_on_from_its_prompt(llama: LoadedModel) -> None:
    """Streamed or whole, with a stop text or without, it is what decoding prompt and answer together gives."""
    ids = llama.encoder.tokenizer("hello w")["input_ids"]
    done = complete(llama, prompts=["hello w"], logprobs=2, ids=True, echo=True)[-1]
    row, prompt = done["rows"][0], done["prompts"][0]
    whole = llama.encoder.tokenizer.decode([*ids, *row["ids"]], skip_special_tokens=True)
    assert whole.rstrip("\ufffd") == prompt["text"] + row["answer"]
    assert "".join(one["text"] for one in prompt["scored"]) == "hello w"
    streamed = complete(llama, prompts=["hello w"], stream=True)
    assert "".join(event["text"] for event in streamed if event["event"] == "delta") == row["answer"]


def test_a_control_token_as_stop_text_ends_an_answer(llama: LoadedModel) -> None:
    def answer_ids(seed: int, *stop: str) -> tuple[int, ...]:
        sampling = Sampling(max_new_tokens=200, temperature=5.0, seed=seed, stop=stop)
        with generate(llama, [[1, 40]], sampling, plain=True) as answers:
            return next(delta.ids for delta in answers if delta.stats is not None)

    seed, free = next((seed, ids) for seed in range(50) if 1 in (ids := answer_ids(seed)))
    assert answer_ids(seed, "<s>") == free[: free.index(1)]


def test_a_prompt_has_the_same_patience_as_text_and_as_numbers(llama: LoadedModel) -> None:
    ids = llama.encoder.tokenizer("hello world")["input_ids"]
    as_text, as_numbers = (complete(llama, prompts=[prompt])[0] for prompt in ("hello world", ids))
    assert as_text == as_numbers == {"event": "prefill", "tokens": len(ids)}
