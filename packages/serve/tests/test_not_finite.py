"""Where a model computes no numbers, that answer fails and says so; the others go on as if it had not been there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model
from camelid_serve.config import EngineConfig
from camelid_serve.engine import NotFinite, Sampling
from camelid_serve.engine_process.messages import error_message, to_error
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel, load_model

SPOILT = 77
"""The token whose embedding is no number."""
GOOD = [5, 9, 40, 41, 42]
SHORT = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    from safetensors.torch import load_file, save_file

    directory = tiny_model(tmp_path_factory.mktemp("models") / "spoilt")
    weights = load_file(directory / "model.safetensors")
    weights["model.embed_tokens.weight"][SPOILT] = float("nan")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(str(directory), load_host(), EngineConfig(slots=4, dtype="float32"))
    yield loaded
    loaded.close()


def answers(loaded: LoadedModel, prompts: list[list[int]]) -> list[tuple[int, ...] | str]:
    """Each prompt's answer, or the name of its error."""
    found: dict[int, tuple[int, ...] | str] = {}
    with generate(loaded, prompts, SHORT, plain=True, raise_errors=False) as deltas:
        for delta in deltas:
            if delta.error is not None or delta.stats is not None:
                found[delta.index] = type(delta.error).__name__ if delta.error else delta.ids
    return [found[index] for index in range(len(prompts))]


def test_one_answer_fails_and_no_other_is_changed(spoilt: LoadedModel) -> None:
    """Nor is one that comes later, in the slot of the one that failed."""
    (alone,) = answers(spoilt, [GOOD])
    bad = [*GOOD[:2], SPOILT, 8]
    assert answers(spoilt, [GOOD, bad, GOOD, [SPOILT]]) == [alone, "NotFinite", alone, "NotFinite"]
    assert answers(spoilt, [bad, GOOD, bad, GOOD, GOOD, GOOD, bad]).count(alone) == 4
    assert answers(spoilt, [GOOD[:1], GOOD])[1] == alone


def test_it_is_an_error_unless_asked_otherwise(spoilt: LoadedModel) -> None:
    with pytest.raises(NotFinite, match="float32"):
        list(generate(spoilt, [[SPOILT, 3]], Sampling(temperature=1, max_new_tokens=3), plain=True))
    with pytest.raises(NotFinite):
        spoilt.engine.prompt_logprobs([5, SPOILT, 6], None, 2)  # type: ignore[attr-defined]


def test_a_client_is_told(spoilt: LoadedModel) -> None:
    from camelid_serve.api.engine_response import _engine_error

    event = json.loads(json.dumps(error_message(NotFinite())))
    refused = _engine_error(event, "messages")
    assert (refused.status_code, refused.code) == (500, "not_finite")
    assert "dtype float32" in refused.detail
    assert "dtype float32" in str(to_error(event))
