"""Beam search is transformers' own, beside answers that stream; where there is none it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from camelid_core.errors import ModelError, UsageError
from camelid_serve.engine import Request, Sampling, check_streams
from camelid_serve.loaded_models import LoadedModel
from camelid_serve.testing import collect

IDS = [7, 80, 19, 33, 201, 5, 44]
BEAMS = {"num_beams": 4, "max_new_tokens": 12}


@pytest.fixture(scope="module")
def reference(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


@pytest.mark.parametrize("more", [{}, {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2}])
def test_the_answer_is_that_of_transformers(tiny: LoadedModel, reference: Any, more: dict[str, Any]) -> None:
    """And answers that run beside it are what they are alone."""
    ids = torch.tensor([IDS])
    own = reference.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None, pad_token_id=0, **BEAMS, **more
    )
    beside = Request(IDS[:3], Sampling(max_new_tokens=8))
    (alone,), _ = collect(tiny.engine, [beside])
    tokens, finishes = collect(tiny.engine, [beside, Request(IDS, Sampling(**BEAMS, **more))])
    assert tokens == [alone, own[0, len(IDS) :].tolist()]
    assert finishes == ["length", "length"]


def test_a_stop_token_ends_it(tiny: LoadedModel) -> None:
    (tokens,), _ = collect(tiny.engine, [Request(IDS, Sampling(**BEAMS))])
    stops = frozenset(tokens[3:5])
    (ended,), (finish,) = collect(tiny.engine, [Request(IDS, Sampling(**BEAMS), stops=stops)])
    assert not stops & set(ended)
    assert finish in ("stop", "length")


def test_sampled_beams_repeat_by_their_seed(tiny: LoadedModel) -> None:
    requests = [Request(IDS, Sampling(**BEAMS, temperature=3.0, seed=seed)) for seed in (1, 1, 2)]
    tokens, _ = collect(tiny.engine, requests)
    assert tokens[0] == tokens[1] != tokens[2]


def test_what_it_has_not_is_refused(tiny: LoadedModel) -> None:
    with pytest.raises(ModelError, match="num_beams"):
        tiny.engine.stream([Request(IDS, Sampling(num_beams=2), logprobs=1)])
    with pytest.raises(UsageError, match="stream"):
        check_streams(Sampling(num_beams=2))
