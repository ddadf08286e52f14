"""Keys in long texts: as long and as deep as asked, found or not, and the same after an interruption."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from camelid_core.artefacts import verify_directory
from camelid_core.errors import DataError, ModelError
from camelid_core.records import Message
from camelid_core.tasks import Interrupted
from camelid_serve.evaluations import passkey as module
from camelid_serve.evaluations.haystack import FILLING, haystack, key_found, passkey_of
from camelid_serve.evaluations.long_context_config import PasskeyConfig
from camelid_serve.evaluations.plots import PLOT_SVG
from camelid_serve.evaluations.result_files import RESULTS, read_results
from camelid_serve.loaded_models import LoadedModel
from hypothesis import given
from hypothesis import strategies as st

from .context import Attempt

Ask = Callable[..., PasskeyConfig]


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest."""
    if "artefact" not in request.node.name:
        monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def asking(base: Path) -> Ask:
    def ask(**more: Any) -> PasskeyConfig:
        return PasskeyConfig(**{"models": [str(base)], "lengths": [300, 400], "depths": [0, 0.5], "trials": 1} | more)

    return ask


@given(st.integers(60, 1500), st.floats(0, 1), st.integers(0, 99))
def test_a_text_is_as_long_and_its_key_as_deep_as_asked(length: int, depth: float, number: int) -> None:
    def words(text: str) -> int:
        return len(text.split())

    key = passkey_of(0, number)
    hay = haystack(words, length, depth, key)
    assert 0 <= length - hay.tokens < max(map(words, FILLING))
    assert words(hay.text) == hay.tokens
    assert hay.text.count(key) == 2
    assert hay.text[hay.at : hay.at + 5] == key
    before, after = hay.text[: hay.at].count("."), hay.text[hay.at :].count(".")
    sentences = sum(hay.text.count(sentence) for sentence in FILLING)
    assert abs(before - 3 - depth * sentences) <= 0.5  # three sentences say what is asked
    assert before + after == sentences + 6


def test_a_text_is_as_long_as_asked_in_a_tokenizers_own_tokens(tiny: LoadedModel) -> None:
    def count(text: str) -> int:
        return len(tiny.encoder.prompt_ids([Message("user", text)]))

    for length in (300, 500, 2000):
        tokens = haystack(count, length, 0.5, "12345").tokens
        assert 0 <= length - tokens <= max(count(f"a {sentence}") - count("a") for sentence in FILLING)
    with pytest.raises(DataError, match="100 tokens are too few: the question alone has"):
        haystack(count, 100, 0.5, "12345")


def test_keys_are_told_by_seed_and_number() -> None:
    keys = [passkey_of(seed, number) for seed in range(3) for number in range(200)]
    assert all(len(key) == 5 and key.isdigit() for key in keys)
    assert len(set(keys)) > 590
    assert keys[:200] == [passkey_of(0, number) for number in range(200)]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("12345", True),
        (" The pass key is 12345. Remember it.", True),
        ("“12345”", True),
        ("12345 or 54321", True),
        ("123456", False),
        ("1234", False),
        ("7, 12345", False),
        ("", False),
    ],
)
def test_the_first_number_counts(answer: str, right: bool) -> None:
    assert key_found(answer, "12345") is right


def test_the_artefact_has_every_answer_and_a_panel_for_each_variant(asking: Ask, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    summary = module.run(asking(rope=["linear:2"], trials=2), attempt)
    assert (summary["texts"], summary["found tiny"]["mean"], summary["found tiny"]["n"]) == (16, 0.0, 8)
    answers = [json.loads(line) for line in (attempt.output / module.ANSWERS).read_text(encoding="utf-8").splitlines()]
    assert {answer["model"] for answer in answers} == {"tiny", "tiny linear:2"}
    assert all(answer["tokens"] + 20 <= answer["length"] < answer["tokens"] + 50 for answer in answers)
    assert all(upper["at"] < deeper["at"] for upper, deeper in zip(answers[:2], answers[2:4], strict=True))
    assert len({answer["key"] for answer in answers}) == 8
    manifest = verify_directory(attempt.output).manifest
    assert manifest.kind == "evaluation"
    assert manifest.template is not None
    for variant in read_results(attempt.output)["variants"]:
        assert [(cell["length"], cell["depth"]) for cell in variant["cells"]] == [
            (300, 0.0),
            (300, 0.5),
            (400, 0.0),
            (400, 0.5),
        ]
        assert all((cell["found"], cell["of"]) == (0, 2) for cell in variant["cells"])
    ids = {element.get("id") for element in ElementTree.parse(attempt.output / PLOT_SVG).getroot().iter()}
    assert {"variant-0", "variant-1"} <= ids


def test_an_interrupted_run_ends_with_the_same_results(asking: Ask, tmp_path: Path) -> None:
    config = asking(rope=["dynamic:2"], lengths=[300, 600], depths=[0.3, 0.9])
    whole, first, second = Attempt(tmp_path / "a"), Attempt(tmp_path / "b", 1, "save", 5), Attempt(tmp_path / "b", 2)
    module.run(config, whole)
    with pytest.raises(Interrupted):
        module.run(config, first)
    module.run(config, second)
    for name in (RESULTS, module.ANSWERS):
        assert (second.output / name).read_bytes() == (whole.output / name).read_bytes()


def test_what_a_model_does_not_take_is_left_out_and_said(asking: Ask, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "a")
    module.run(asking(lengths=[512, 900], depths=[0.5], rope=["linear:2"]), attempt)
    plain, scaled = read_results(attempt.output)["variants"]
    assert [cell["of"] for cell in plain["cells"]] == [1, 0]
    assert [cell["of"] for cell in scaled["cells"]] == [1, 1]
    assert any("tiny takes 512 tokens at most; 900 left out." in event.get("text", "") for event in attempt.events)
    with pytest.raises(ModelError, match="no model takes 900 tokens"):
        module.run(asking(lengths=[900]), Attempt(tmp_path / "b"))


def test_asked_to_finish_it_keeps_what_was_answered(asking: Ask, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "a", 1, "finish", 2)
    assert module.run(asking(), attempt)["texts"] == 2
    assert [cell["of"] for cell in read_results(attempt.output)["variants"][0]["cells"]] == [1, 1, 0, 0]
    with pytest.raises(DataError, match="before a text"):
        module.run(asking(), Attempt(tmp_path / "b", 1, "finish", 0))
