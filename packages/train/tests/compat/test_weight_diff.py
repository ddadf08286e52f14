"""Argument lists of weight_diff.py: the command each means."""

from __future__ import annotations

import pytest
from camelid_core.errors import UsageError
from camelid_train.compat.weight_diff import read

PATHS = "--path_raw raw --path_tuned tuned --path_diff diff"


def test_the_cards_commands_mean_a_diff():
    assert read(f"recover {PATHS}".split()).words == ["diff", "recover", "diff", "raw", "--out", "tuned"]
    assert read(f"make_diff {PATHS}".split()).words == ["diff", "make", "raw", "tuned", "--out", "diff"]
    (note,) = read(f"recover {PATHS} --device cuda".split()).notes
    assert note.startswith("--device has no effect")


@pytest.mark.parametrize("arguments", ["", PATHS, "dance", "recover --path_raw raw", "recover --path_raw"])
def test_what_is_missing_is_named(arguments):
    with pytest.raises(UsageError, match="weight_diff"):
        read(arguments.split())
