"""Continuations are scored as the model scores prompt and continuation in one row alone, whatever shares a pass."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from random import Random
from typing import Any

import pytest
import torch
from camelid_core.errors import ModelError, UnknownName
from camelid_serve.engine import Continuation, ScoresContinuations, TokenLogprob
from camelid_serve.engines import continuation_scores
from camelid_serve.engines.transformers import TransformersEngine
from camelid_serve.loaded_models import LoadedModel
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 99
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "bloom": {},  # ALiBi: distances instead of positions
    "opt": {"word_embed_proj_dim": 32, "ffn_dim": 32},  # counts positions from the mask
    "gpt2": {"n_positions": 256},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16},  # keeps not all positions
    "mamba": {},  # keeps none
}


def tiny_model(kind: str) -> Any:
    torch.manual_seed(5)
    config = AutoConfig.for_model(
        kind, vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **SIZES[kind],
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def expected(model: Any, each: Continuation) -> tuple[list[float], list[int]]:
    with torch.inference_mode():
        rows = model(torch.tensor([[*each.prompt, *each.ids]])).logits[0].float().log_softmax(-1)
    rows = rows[len(each.prompt) - 1 : -1]
    return rows.gather(-1, torch.tensor(each.ids)[:, None])[:, 0].tolist(), rows.argmax(-1).tolist()


def scored(engine: Any, asked: Sequence[Continuation], adapter: str | None = None) -> list[list[TokenLogprob]]:
    found: dict[int, list[TokenLogprob]] = {}
    engine.score_continuations(asked, adapter, lambda index, logprobs: found.__setitem__(index, logprobs))
    assert sorted(found) == list(range(len(asked)))
    return [found[index] for index in range(len(asked))]


def questions(random: Random) -> list[Continuation]:
    """Choices of questions: some share a long beginning, one has a single choice, one a choice twice."""

    def ids(low: int, high: int) -> list[int]:
        return [random.randrange(3, VOCABULARY) for _ in range(random.randint(low, high))]

    examples = ids(70, 80)
    prompts = [examples + ids(1, 20) for _ in range(4)] + [ids(1, 30) for _ in range(4)] + [examples]
    asked = [Continuation(prompt, ids(1, 9)) for prompt in prompts for _ in range(random.randint(1, 4))]
    asked += [asked[0], Continuation(ids(1, 1), ids(60, 60))]
    random.shuffle(asked)
    return asked


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("tokens", [40, 1536])
def test_scores_are_those_of_each_row_alone(kind: str, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuation_scores, "_MAX_PASS_TOKENS", {"cpu": tokens})
    monkeypatch.setattr(continuation_scores, "_MAX_LOGIT_ROWS", tokens // 3)
    model = tiny_model(kind)
    engine = TransformersEngine(model)
    try:
        for seed in range(3):
            asked = questions(Random(seed))
            for each, found in zip(asked, scored(engine, asked), strict=True):
                logprobs, greedy = expected(model, each)
                assert [one.token for one in found] == list(each.ids)
                assert [one.logprob for one in found] == pytest.approx(logprobs, abs=2e-4)
                assert [one.top[0][0] for one in found] == greedy
    finally:
        engine.close()


def test_what_prompts_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    fed = []
    forward = model.forward

    def counting(*args: Any, **named: Any) -> Any:
        fed.append(named["input_ids"].numel())
        return forward(*args, **named)

    counting.__signature__ = signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(model, "forward", counting)
    engine = TransformersEngine(model)
    try:
        shared = list(range(3, 93))
        asked = [Continuation([*shared, 10 + n], [20 + k, 30]) for n in range(10) for k in range(5)]
        scored(engine, asked)
    finally:
        engine.close()
    assert sum(fed) == len(shared) + 10 + 50  # row by row it would be 50 times 92


def test_an_adapter_changes_them(tuned: LoadedModel) -> None:
    asked = [Continuation([5, 6, 7, 8], [9, 10]), Continuation([5, 6, 7, 8], [11])]
    with_adapter = scored(tuned.engine, asked, tuned.adapter)
    assert with_adapter != scored(tuned.engine, asked)
    for each, found in zip(asked, with_adapter, strict=True):
        alone = tuned.engine.prompt_logprobs([*each.prompt, *each.ids], tuned.adapter, 1)  # type: ignore[attr-defined]
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in alone[3:-1]], abs=2e-4)
    with pytest.raises(UnknownName):
        scored(tuned.engine, asked, "nobody")


def test_empty_prompts_and_continuations_are_refused(tiny: LoadedModel) -> None:
    assert isinstance(tiny.engine, ScoresContinuations)
    for wrong in (Continuation([], [5]), Continuation([5], [])):
        with pytest.raises(ModelError, match="at least one"):
            scored(tiny.engine, [wrong])
    with pytest.raises(ModelError, match="context length"):
        scored(tiny.engine, [Continuation([5] * tiny.engine.context_length, [6, 7])])
    assert len(scored(tiny.engine, [Continuation([5] * (tiny.engine.context_length - 1), [6, 7])])[0]) == 2
