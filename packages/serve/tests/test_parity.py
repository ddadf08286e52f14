"""Engines beside each other: where their greedy answers diverge, and by how much."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from camelid_core.errors import DataError, UnknownName, UsageError
from camelid_core.plugins import Host, load_host
from camelid_core.testing import write_jsonl
from camelid_serve.engine import EngineKind, Request, TokenEvent
from camelid_serve.engines.transformers import load
from camelid_serve.evaluations.parity import PROMPTS, EngineComparison, compare, conversations, parse_engines

DIVERGES_AT, OTHER = 5, 77


class Deviant:
    """The real engine, but the token at one position is another, and prompts of an odd length are cut short there."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.context_length, self.adapters, self.close = real.context_length, real.adapters, real.close

    def stream(self, requests: Sequence[Request]) -> Any:
        return _Stream(self._real.stream(requests), requests)


class _Stream:
    def __init__(self, real: Any, requests: Sequence[Request]) -> None:
        self._real = real
        self._requests = requests

    def __enter__(self) -> Iterator[TokenEvent]:
        return self._events()

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def _events(self) -> Iterator[TokenEvent]:
        seen = [0] * len(self._requests)
        for event in self._real:
            position, odd = seen[event.index], len(self._requests[event.index].ids) % 2
            seen[event.index] += 1
            if position == DIVERGES_AT:
                yield TokenEvent(event.index, None, "stop") if odd else replace(event, token=OTHER, token_logprob=None)
            elif position < DIVERGES_AT or not odd:
                yield event


def load_deviant(reference: Any, dtype: Any, slots: int) -> Deviant:
    return Deviant(load(reference, dtype, slots))


@pytest.fixture(scope="module")
def host() -> Host:
    """Everything there is, and an engine that says something else."""
    plugin = ModuleType("deviant")
    sys.modules["camelid_test_deviant"] = plugin
    plugin.load = load_deviant  # type: ignore[attr-defined]
    host = Host()
    host.load(load_host().plugins)
    kinds = host.registry("camelid_engines")
    kinds.add(EngineKind("deviant", "Diverges.", "camelid_test_deviant:load"), "test")
    return host


def run(base: Path, engines: str, host: Host) -> list[EngineComparison]:
    prompts = conversations("", 3)
    return compare(parse_engines(str(base), engines, [], host), prompts, 12, host, dtype="float32")


def test_an_engine_compared_with_itself_is_equal(base: Path, host: Host) -> None:
    (result,) = run(base, "transformers,transformers", host)
    assert (result.equal, result.prompts, result.partings) == (3, 3, ())
    assert 0 < result.tokens <= 36


def test_a_divergence_has_both_tokens_and_their_probabilities(base: Path, host: Host) -> None:
    (result,) = run(base, "transformers,deviant", host)
    assert (result.engine, result.equal, result.tokens) == ("deviant", 0, 3 * DIVERGES_AT)
    assert [divergence.prompt for divergence in result.partings] == [1, 2, 3]
    assert {divergence.position for divergence in result.partings} == {DIVERGES_AT}
    assert {divergence.other.token for divergence in result.partings} == {OTHER, None}
    for divergence in result.partings:
        assert divergence.asked == PROMPTS[divergence.prompt - 1]
        assert 0 < divergence.first.probability <= 1  # type: ignore[operator]
        assert divergence.first.text
        ended = divergence.other.token is None
        assert (divergence.other.text == "end of the answer") == ended
        assert divergence.other.probability is None  # this engine does not say


def test_a_model_of_its_own_for_an_engine(base: Path, adapter: Path, host: Host) -> None:
    (result,) = run(base, f"transformers,transformers={adapter}", host)
    assert result.engine == f"transformers={adapter}"
    assert result.equal < 3
    divergence = result.partings[0]
    assert divergence.other.probability is not None
    assert divergence.first.token != divergence.other.token


def test_rows_of_a_file_are_prompts(base: Path, host: Host, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"instruction": "One?"}, {"nothing": 1}, {"instruction": "Two?"}])
    assert [messages[-1].content for messages in conversations(str(path), 9)] == ["One?", "Two?"]
    with pytest.raises(DataError, match="no row that can be answered"):
        conversations(str(write_jsonl(tmp_path / "none.jsonl", [{"nothing": 1}])), 9)


def test_what_cannot_be_compared_is_said(base: Path, host: Host) -> None:
    with pytest.raises(UsageError, match="names 1; give two or more"):
        parse_engines(str(base), "transformers", [], host)
    with pytest.raises(UnknownName, match="engine 'transformer' is not known"):
        parse_engines(str(base), "transformers,transformer", [], host)
    with pytest.raises(UsageError, match=r"write transformers\.url=x or deviant\.url=x"):
        parse_engines(str(base), "transformers,deviant", ["url=x"], host)
    with pytest.raises(UsageError, match="takes no settings"):
        parse_engines(str(base), "transformers,deviant", ["deviant.url=x"], host)


@pytest.mark.slow
def test_the_command_ends_with_3_where_engines_part(base: Path, adapter: Path) -> None:
    options = ["--engines", f"transformers,transformers={adapter}", "--tokens", "8", "--limit", "2"]
    command = [sys.executable, "-m", "camelid_core.cli", "eval", "parity", str(base), *options]
    parted = subprocess.run(command, capture_output=True, text=True)
    assert parted.returncode == 3, parted.stderr
    assert "diverges at token 0: What is the capital of France?" in parted.stdout
