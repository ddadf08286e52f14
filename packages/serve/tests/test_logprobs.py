"""Log-probabilities are the model's own, whatever shares the batch; adapters loaded later are the ones on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from camelid_core.errors import ModelError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_serve.config import EngineConfig
from camelid_serve.engine import ComputesDistributions, Request, Sampling, TokenEvent, TokenLogprob
from camelid_serve.engines import logprobs
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel, LoadedModels, load_model
from transformers import AutoModelForCausalLM

IDS = [7, 80, 19, 33, 201, 5, 44]


@pytest.fixture(scope="module")
def logits(base: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()

    def logprobs_of(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return model(torch.tensor([ids])).logits[0].log_softmax(-1)

    return logprobs_of


@pytest.mark.parametrize("stride", [2, 3, 7, 256])
def test_prompt_logprobs_are_the_models(
    tiny: LoadedModel, logits: Any, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "_STRIDE", stride)
    logprobs_of = logits(IDS)
    found = tiny.engine.prompt_logprobs(IDS, None, 4)  # type: ignore[attr-defined]
    assert [one.token for one in found] == [*IDS[1:], int(logprobs_of[-1].argmax())]
    for at, one in enumerate(found):
        assert one.logprob == pytest.approx(float(logprobs_of[at, one.token]), abs=1e-4)
        best = logprobs_of[at].topk(4)
        assert [token for token, _ in one.top] == best.indices.tolist()
        assert [worth for _, worth in one.top] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_sampled_tokens_have_logprobs_on_request(tiny: LoadedModel, logits: Any) -> None:
    asked = [
        Request(IDS, Sampling(max_new_tokens=5), logprobs=2),
        Request(IDS[:3], Sampling(max_new_tokens=5)),
        Request(IDS, Sampling(max_new_tokens=5, temperature=2.0, repetition_penalty=1.5, seed=3), logprobs=0),
    ]
    events: list[list[TokenEvent]] = [[] for _ in asked]
    for event in tiny.engine.stream(asked):
        events[event.index].append(event)
    assert [event.token_logprob for event in events[1]] == [None] * 5
    for row in (0, 2):
        ids = list(IDS)
        for event in events[row]:
            assert isinstance(event.token_logprob, TokenLogprob)
            assert event.token_logprob.token == event.token
            assert event.token_logprob.logprob == pytest.approx(float(logits(ids)[-1, event.token]), abs=1e-4)
            assert len(event.token_logprob.top) == asked[row].logprobs
            ids.append(event.token_logprob.token)


def test_a_stop_token_has_a_logprob_and_is_not_returned(tiny: LoadedModel, logits: Any) -> None:
    stop = int(logits(IDS)[-1].argmax())
    request = Request(IDS, Sampling(max_new_tokens=5), stops=frozenset({stop}), logprobs=0)
    (event,) = tiny.engine.stream([request])
    assert (event.token, event.finish) == (None, "stop")
    assert event.token_logprob is not None
    assert event.token_logprob.token == stop


def test_every_token_of_an_answer_has_one_logprob(tiny: LoadedModel) -> None:
    """Text may wait for the rest of a character; no token's log-probability is lost or sent twice."""
    with generate(tiny, [IDS, IDS[:4]], Sampling(max_new_tokens=30), logprobs=0, plain=True) as answers:
        pieces = list(answers)
    for index in (0, 1):
        own = [delta for delta in pieces if delta.index == index]
        stats = own[-1].stats
        assert stats is not None
        ended_by_a_token = stats.finish == "stop"
        assert sum(len(delta.logprobs) for delta in own) == stats.tokens + ended_by_a_token


@pytest.mark.parametrize("first", [0, 3, 300])
def test_distributions_are_the_models_own_from_any_position_on(tiny: LoadedModel, first: int) -> None:
    """In pieces, in order, each token's own among them; a running answer is not disturbed."""
    ids = [*IDS, *range(20, 320)]
    pieces: list[torch.Tensor] = []
    assert isinstance(tiny.engine, ComputesDistributions)
    tiny.engine.next_token_logprobs(ids, None, first, pieces.append)
    rows = torch.cat(pieces)
    assert len(rows) == len(ids) - first
    assert torch.allclose(rows.exp().sum(-1), torch.ones(len(rows)), atol=1e-5)
    single = tiny.engine.prompt_logprobs(ids, None, 1)  # type: ignore[attr-defined]
    for position in range(first, len(ids), 37):
        assert float(rows[position - first, single[position].token]) == pytest.approx(
            single[position].logprob, abs=1e-5
        )


@pytest.fixture
def second(base: Path, tmp_path: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=2, target_modules=["q_proj", "o_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(tmp_path / "second")
    return tmp_path / "second"


@pytest.fixture
def family(base: Path, adapter: Path, second: Path) -> Iterator[dict[str, LoadedModel]]:
    loaded_models = LoadedModels()
    loaded_models.load(
        {"bare": str(base), "one": str(adapter), "two": str(second)},
        load_host(),
        EngineConfig(slots=8, dtype="float32"),
    )
    several = loaded_models.models
    yield several
    several["bare"].close()


def answer_ids(loaded: LoadedModel, ids: list[int] = IDS) -> list[int]:
    stream = loaded.engine.stream([Request(ids, Sampling(max_new_tokens=12), loaded.adapter)])
    return [event.token for event in stream if event.token is not None]


def test_models_with_one_base_share_it_and_answer_as_alone(
    family: dict[str, LoadedModel], base: Path, adapter: Path, second: Path
) -> None:
    assert list(family) == ["bare", "one", "two"]
    assert len({id(loaded.engine) for loaded in family.values()}) == 1
    alone = {}
    for label, path in (("bare", base), ("one", adapter), ("two", second)):
        loaded = load_model(str(path), load_host(), EngineConfig(dtype="float32"))
        alone[label] = answer_ids(loaded)
        loaded.close()
    assert len({tuple(tokens) for tokens in alone.values()}) == 3
    latest_first = {label: answer_ids(family[label]) for label in reversed(alone)}
    assert latest_first == alone
    requests = [Request(IDS, Sampling(max_new_tokens=12), family[label].adapter) for label in alone]
    together: list[list[int]] = [[], [], []]
    for event in family["bare"].engine.stream(requests):
        if event.token is not None:
            together[event.index].append(event.token)
    assert together == list(alone.values())


def test_a_whole_model_is_no_adapter(tuned: LoadedModel, base: Path) -> None:
    with pytest.raises(ModelError, match="whole model"):
        tuned.engine.add_adapter(resolve_model(str(base), load_host()))  # type: ignore[attr-defined]
