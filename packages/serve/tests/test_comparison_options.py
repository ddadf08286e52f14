"""`camelid eval context|passkey`: what is typed, and the tables that come out. Nothing runs here."""

from __future__ import annotations

import pytest
from camelid_core.errors import ConfigError
from camelid_serve.commands import evaluate
from camelid_serve.commands.comparison_options import configure_comparison
from camelid_serve.evaluations.long_context_config import ContextConfig, PasskeyConfig
from typer.testing import CliRunner


def test_models_and_settings_stand_side_by_side() -> None:
    config = configure_comparison(
        ContextConfig, ["one", "windows=3", "two", "dtype=float32"], "512, 64", "linear:2,yarn:4", {"text": "nowhere"}
    )
    assert (config.models, config.lengths, config.rope) == (["one", "two"], [64, 512], ["linear:2", "yarn:4"])
    assert (config.windows, config.dtype, config.text) == (3, "float32", "nowhere")
    assert configure_comparison(PasskeyConfig, ["one"], "", "", {}) == PasskeyConfig(models=["one"])


@pytest.mark.parametrize(
    ("given", "lengths", "rope", "says"),
    [
        (["one"], "many", "", r"lengths\.0"),
        (["one"], "8", "", r"lengths\.0"),
        (["one"], "", "twice", "dynamic:4"),
        (["one"], "", "linear:0.5", "factor above 1"),
        (["one", "window=3"], "", "", "mean 'windows'"),
    ],
)
def test_what_does_not_fit_is_a_sentence(given: list[str], lengths: str, rope: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        configure_comparison(ContextConfig, given, lengths, rope, {})


def test_eval_alone_means_answers() -> None:
    def help_of(*arguments: str) -> str:
        return CliRunner().invoke(evaluate.app, [*arguments, "--help"]).output

    assert "Answer accuracy on held-out rows" in help_of("some-model")
    assert "Answer accuracy on held-out rows" in help_of("--rows", "3", "some-model")
    assert "Answer accuracy on held-out rows" in help_of("answers")
    assert "with a plot" in help_of("context")
    assert all(name in help_of() for name in ("answers", "context", "passkey"))


def test_tables_have_a_column_for_each_length() -> None:
    estimate = {"mean": 12.3456, "low": 10.0, "high": 15.0, "n": 8}
    points = [{"length": 64, "perplexity": 12.3456, "estimate": estimate}, {"length": 128, "perplexity": None}]
    assert evaluate._perplexity_rows({"label": "mine", "points": points}) == [
        {"perplexity": "mine", "64": "12.3 ± 2.7", "128": "–"}
    ]
    cells = [
        {"length": length, "depth": depth, "found": 1, "of": of}
        for length, depth, of in [(64, 0.0, 2), (64, 0.5, 1), (128, 0.0, 0), (128, 0.5, 3)]
    ]
    assert evaluate._passkey_rows({"label": "mine", "cells": cells}) == [
        {"keys found": "mine", "depth": "0%", "64": "1/2", "128": "–"},
        {"keys found": "mine", "depth": "50%", "64": "1/1", "128": "1/3"},
    ]
