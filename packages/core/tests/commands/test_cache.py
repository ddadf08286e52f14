"""`camelid cache`."""

from __future__ import annotations

import os
import time

import pytest
from camelid_core.builtin.templates import CHATML
from camelid_core.records import alpaca
from camelid_core.testing import tiny_tokenizer
from camelid_core.token_cache import TokenCache
from camelid_core.tokenization.encoder import Encoder


@pytest.fixture
def filled(home):
    """A cache with three rows."""
    rows = [alpaca(f"q{number}", "a", source="sums") for number in range(3)]
    TokenCache().encode(rows, Encoder(tiny_tokenizer(), CHATML))
    return TokenCache()


def test_an_empty_cache_is_a_sentence(camelid):
    assert camelid("cache", "list").out == "The token cache is empty.\n"
    assert camelid("cache", "list", "--json").json == []
    assert camelid("cache", "prune", "--keep", "1GB").out == "0 B were freed.\n"


def test_list_says_what_is_there(camelid, filled):
    (row,) = camelid("cache", "list", "--json").json
    assert (row["data"], row["template"], row["rows"]) == (["sums"], "chatml", 3)
    assert row["bytes"] == filled.entries()[0].bytes
    assert "chatml" in camelid("cache", "list").out


def test_prune_deletes_what_was_not_used_for_long(camelid, filled):
    size = filled.entries()[0].bytes
    assert camelid("cache", "prune", "--older-than", "30d", "--json").json == [{"freed": 0, "dry_run": False}]
    for path in filled.directory.glob("*/*.safetensors"):
        os.utime(path, (time.time() - 31 * 86400,) * 2)
    assert "would be freed" in camelid("cache", "prune", "--older-than", "30d", "--dry-run").out
    assert camelid("cache", "prune", "--older-than", "4w", "--json").json == [{"freed": size, "dry_run": False}]
    assert filled.entries() == []


def test_prune_keeps_as_much_as_was_said(camelid, filled):
    assert camelid("cache", "prune", "--keep", "1.5 mb").code == 0
    assert filled.entries()
    assert camelid("cache", "prune", "--keep", "0GB").code == 0
    assert not filled.entries()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say what to delete: --older-than 30d"),
        (("--older-than", "soon"), "--older-than 'soon': write a number and one of h, d, w, for example 30d."),
        (("--keep", "10"), "--keep '10': write a number and one of B, KB, MB, GB, TB, for example 10GB."),
        (("--keep", "-1GB"), "--keep '-1GB': write a number"),
    ],
)
def test_what_does_not_fit_is_a_sentence(camelid, arguments, sentence):
    ran = camelid("cache", "prune", *arguments)
    assert ran.code == 2
    assert sentence in ran.err
