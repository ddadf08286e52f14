"""The embedded engine: the same tokens as `generate`, whatever else is in the batch; cancellation; one base for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from camelid_core.errors import ModelError, UnknownName
from camelid_core.testing import tiny_model
from camelid_serve.engine import Request, Sampling
from camelid_serve.engines import transformers
from camelid_serve.engines.transformers import TransformersEngine
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.testing import collect, prompts
from transformers import AutoModelForCausalLM

LONG = Sampling(max_new_tokens=60_000)
"""For the model that never ends: minutes."""


def generated(model: Any, ids: Sequence[int], count: int, **options: Any) -> list[int]:
    with torch.inference_mode():
        given = torch.tensor([ids])
        output = model.generate(
            given,
            attention_mask=torch.ones_like(given),
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=None,
            pad_token_id=0,
            **options,
        )
    return output[0, len(ids) :].tolist()


@pytest.fixture(scope="module")
def plain(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@pytest.mark.parametrize("shared", [0, 20])
def test_greedy_equals_generate_for_mixed_lengths(tiny: LoadedModel, plain: Any, shared: int) -> None:
    """Ten requests on four slots: rows join and leave a running batch."""
    lengths = [3, 17, 8, 1, 30, 12, 5, 9, 21, 2]
    asked = [
        Request(ids, Sampling(max_new_tokens=length)) for ids, length in zip(prompts(10, shared), lengths, strict=True)
    ]
    tokens, ends = collect(tiny.engine, asked)
    assert tokens == [generated(plain, request.ids, request.sampling.max_new_tokens) for request in asked]
    assert set(ends) == {"length"}


@pytest.mark.parametrize("family", ["bloom", "gpt_neox", "qwen2"])
def test_greedy_equals_generate_for_other_families(tmp_path: Path, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path, family), dtype=torch.float32).eval()
    engine = TransformersEngine(model, slots=3)
    asked = [Request(ids, Sampling(max_new_tokens=4 + index)) for index, ids in enumerate(prompts(7, shared=10))]
    try:
        tokens, _ = collect(engine, asked)
    finally:
        engine.close()
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert tokens == [generated(model, request.ids, request.sampling.max_new_tokens) for request in asked]


def test_sliding_window_attention(tmp_path: Path) -> None:
    """Rows cannot join a KV cache with a sliding window: rows then start and end together."""
    from transformers import AutoConfig

    options = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model("mistral", hidden_size=32, vocab_size=400, sliding_window=8, **options)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    asked = [Request(ids, Sampling(max_new_tokens=6 + index)) for index, ids in enumerate(prompts(5))]
    expected = [generated(model, request.ids, request.sampling.max_new_tokens) for request in asked]
    engine = TransformersEngine(model, slots=2)
    try:
        assert collect(engine, asked)[0] == expected
    finally:
        engine.close()


def test_stop_tokens_end_an_answer_and_are_not_returned(tiny: LoadedModel, plain: Any) -> None:
    ids = prompts(1)[0]
    whole = generated(plain, ids, 20)
    stop = whole[7]
    tokens, ends = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=20), stops=frozenset({stop}))])
    assert tokens == [whole[: whole.index(stop)]]
    assert ends == ["stop"]


def test_repetition_penalty_equals_generate(tiny: LoadedModel, plain: Any) -> None:
    ids = prompts(1)[0]
    tokens, _ = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=16, repetition_penalty=1.3))])
    assert tokens[0] == generated(plain, ids, 16, repetition_penalty=1.3)


def test_a_sampled_answer_depends_on_its_own_seed_alone(tiny: LoadedModel) -> None:
    ids = prompts(6)
    settings = [Sampling(temperature=1.0, top_p=0.9, seed=seed, max_new_tokens=12) for seed in (1, 1, 2, 3, 4, 5)]
    together, _ = collect(tiny.engine, [Request(one, s) for one, s in zip([ids[0], *ids[:5]], settings, strict=True)])
    alone, _ = collect(tiny.engine, [Request(ids[0], settings[0])])
    assert together[0] == together[1] == alone[0]
    other, _ = collect(tiny.engine, [Request(ids[0], settings[2])])
    assert other != alone


def test_adapter_on_and_off_share_one_base(tuned: LoadedModel, adapter: Path, base: Path) -> None:
    from peft import PeftModel

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), str(adapter))
    ids = prompts(6, shared=12)
    asked = [Request(one, Sampling(max_new_tokens=10), tuned.adapter if n % 2 else None) for n, one in enumerate(ids)]
    tokens, _ = collect(tuned.engine, asked)
    with_adapter = [generated(model, one, 10) for one in ids]
    with model.disable_adapter():
        without = [generated(model, one, 10) for one in ids]
    assert with_adapter != without
    assert tokens == [with_adapter[n] if n % 2 else without[n] for n in range(6)]


def test_cancel_ends_one_request_within_a_token(talker: LoadedModel) -> None:
    ids = prompts(2)
    after = 0
    stream = talker.engine.stream([Request(ids[0], LONG), Request(ids[1], Sampling(max_new_tokens=30))])
    ends = {}
    cancelled = False
    for event in stream:
        ends[event.index] = event.finish
        if event.index == 0 and cancelled:
            after += event.token is not None
        if event.index == 0 and event.token is not None and not cancelled:
            stream.cancel(0)
            cancelled = True
    assert ends == {0: "cancelled", 1: "length"}
    assert after == 0


def test_calls_between_steps_delay_no_answer(talker: LoadedModel) -> None:
    """Prompt log-probabilities without a pause: whenever one call is done, the next is queued."""
    engine, during = talker.engine, []
    assert isinstance(engine, TransformersEngine)
    stream = engine.stream([Request(prompts(1)[0], Sampling(max_new_tokens=50))])
    next(stream)

    def score() -> None:
        if engine._running_tickets() and len(during) < 500:
            engine._prompt_logprobs([5, 6, 7], None, 0)
            during.append(1)
            engine._calls.append(score)

    engine._call_between_steps(score)
    assert sum(event.token is not None for event in stream) == 49
    assert len(during) < 50, "one for each token"


def test_closing_a_stream_frees_its_slots(talker: LoadedModel) -> None:
    stream = talker.engine.stream([Request(ids, LONG) for ids in prompts(6)])
    next(iter(stream))
    stream.close()
    assert list(stream) == []
    tokens, _ = collect(talker.engine, [Request(prompts(1)[0], Sampling(max_new_tokens=2))])
    assert len(tokens[0]) == 2


def test_answers_end_at_the_context_length(tiny: LoadedModel) -> None:
    ids = [7] * (tiny.engine.context_length - 3)
    tokens, ends = collect(tiny.engine, [Request(ids, Sampling(max_new_tokens=50))])
    assert (len(tokens[0]), ends) == (3, ["length"])


SIZES = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "hidden_size": 32,
    "vocab_size": 400,
}


def made(family: str, **options: Any) -> Any:
    """A model whose weights are large enough for positions to matter."""
    from transformers import AutoConfig

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(6 if weights.ndim == 2 else 1)
    return model


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}),
        (
            "gpt_neo",
            {
                "max_position_embeddings": 64,
                "hidden_size": 32,
                "num_layers": 2,
                "num_heads": 4,
                "attention_types": [[["global", "local"], 1]],
            },
        ),
    ],
)
def test_a_row_at_the_end_of_the_position_table_affects_no_other(family: str, options: dict[str, Any]) -> None:
    """A finished row stays in the batch for a while; GPT-Neo has a table of columns, too."""
    engine = TransformersEngine(made(family, vocab_size=400, **options), slots=32)
    asked = [Request([9 + n] * 5, Sampling(max_new_tokens=20)) for n in range(31)]
    try:
        tokens, ends = collect(engine, [Request([7] * 60, Sampling(max_new_tokens=99)), *asked])
    finally:
        engine.close()
    assert ([len(each) for each in tokens], set(ends)) == ([4] + [20] * 31, {"length"})


ROPE = {"rope_theta": 1e4, "factor": 8.0}
NATIVE = 64


@pytest.mark.parametrize(
    "model",
    [
        {"family": "llama", "max_position_embeddings": NATIVE, "rope_parameters": {**ROPE, "rope_type": "dynamic"}},
        {
            "family": "phi3",
            "max_position_embeddings": 8 * NATIVE,
            "original_max_position_embeddings": NATIVE,
            "pad_token_id": 0,
            "rope_parameters": {
                **ROPE,
                "rope_type": "longrope",
                "original_max_position_embeddings": NATIVE,
                "short_factor": [1.0] * 4,
                "long_factor": [1.5, 3.0, 6.0, 12.0],
            },
        },
    ],
    ids=["dynamic", "longrope"],
)
def test_dynamic_rope_depends_on_the_rows_own_length_alone(model: dict[str, Any]) -> None:
    """Beside one that is long at once and one that grows so; before, between and after them."""
    engine = TransformersEngine(made(**SIZES, **model), slots=4)
    ids = [*range(5, 35)]
    short, grows, long = (Request(ids[:n] * k, Sampling(max_new_tokens=20)) for n, k in ((29, 1), (25, 2), (30, 5)))
    calls: list[int] = []
    engine._model.register_forward_pre_hook(
        lambda _, __, given: calls.append(len(given["input_ids"])), with_kwargs=True
    )
    try:
        alone = {id(each): collect(engine, [each])[0][0] for each in (short, grows, long)}
        asked = [short, long, short, short, grows, short]
        assert collect(engine, asked)[0] == [alone[id(each)] for each in asked]
        stream, said = engine.stream([long]), list[int | None]()
        for event in stream:
            said.append(event.token)
            if len(said) == 3:
                engine.prompt_logprobs([*range(5, 385)], None, 0)
        assert said == alone[id(long)]
    finally:
        engine.close()
    assert max(calls) == 2, "those that are short share a batch"


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (Request([]), ModelError, "empty"),
        (Request([1] * 600), ModelError, "512"),
        (Request([1], adapter="nope"), UnknownName, "nope"),
    ],
)
def test_invalid_requests_raise(tiny: LoadedModel, request_: Request, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tiny.engine.stream([request_])


def test_an_error_reaches_the_streams_of_its_batch_alone(endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is raised: when a batch is created, when an admitted request starts, or in the model."""
    model = AutoModelForCausalLM.from_pretrained(endless)
    engine = TransformersEngine(model)

    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    for place, name in ((transformers, "DecodeBatch"), (engine._adapters, "activate"), (model, "forward")):
        with monkeypatch.context() as broken:
            broken.setattr(place, name, fails)
            with pytest.raises(RuntimeError, match="out of memory"):
                list(engine.stream([Request([5, 6])]))
    assert collect(engine, [Request([5, 6], Sampling(max_new_tokens=2))])[1] == ["length"]
    stream = engine.stream([Request([5, 6], LONG)])
    engine.close()
    with pytest.raises(ModelError, match="unloaded"):
        list(stream)
    with pytest.raises(ModelError, match="unloaded"):
        engine.stream([Request([5])])
