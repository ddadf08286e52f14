"""Presets are settings that there are, with the values their makers wrote; suffixes come and go without a trace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from camelid_core.errors import UnknownName
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_serve.commands.common_options import preset_of
from camelid_serve.engine import Sampling
from camelid_serve.generation_config import recommended_sampling
from camelid_serve.presets import PRESETS, SUFFIXES, SYSTEMS, by_name, has_suffix, with_suffix, without_suffix
from hypothesis import given
from hypothesis import strategies as st

VALUES = {
    "thebloke": (0.7, 0.95, 40, 0.0, 1.1, 0, 1, 512),
    "alpaca-cot": (1.0, 0.9, 40, 0.0, 1.8, 6, 1, 512),
    "service": (0.1, 0.75, 40, 0.0, 1.0, 0, 1, 512),
    "firefly": (0.35, 0.85, 0, 0.0, 1.2, 0, 1, 200),
    "greedy": (0.0, 1.0, 0, 0.0, 1.0, 0, 1, 256),
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_settings_there_are_and_keeps_seed_and_stops(name: str) -> None:
    given_by_person = Sampling(seed=5, stop=("###",), temperature=3)
    own = Sampling(top_p=0.5, max_new_tokens=9)
    made = PRESETS[name].applied(given_by_person, own)
    assert (made.seed, made.stop) == (5, ("###",))
    settings = tuple(made.model_dump(exclude={"seed", "stop"}).values())
    assert settings == VALUES.get(name, tuple(own.model_dump(exclude={"seed", "stop"}).values()))
    assert PRESETS[name].help.endswith(".")


def test_the_command_line_reads_what_a_model_recommends(base: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(base, tmp_path / "model"))
    wanted = {"do_sample": True, "temperature": 0.6, "no_repeat_ngram_size": 3}
    (model / "generation_config.json").write_text(json.dumps(wanted), "utf-8")
    own = {"temperature": 0.6, "no_repeat_ngram_size": 3}
    assert recommended_sampling(resolve_model(str(model), load_host())).model_dump(exclude_defaults=True) == own
    assert preset_of("own", str(model)) == own
    assert preset_of("", "no such model") == preset_of("greedy", "no such model") == {}
    with pytest.raises(UnknownName, match="Did you mean 'greedy'"):
        by_name("preset", "gredy", PRESETS)


@given(st.lists(st.sampled_from([*(each.text for each in SUFFIXES.values()), "What is 2 + 3?", "", "  x"])))
def test_a_suffix_comes_and_goes(lines: list[str]) -> None:
    draft = "\n".join(lines)
    for suffix in (each.text for each in SUFFIXES.values()):
        added = with_suffix(draft, suffix)
        assert has_suffix(added, suffix)
        assert with_suffix(added, suffix) == added
        assert not has_suffix(without_suffix(added, suffix), suffix)
        if not has_suffix(draft, suffix):
            assert without_suffix(added, suffix) == draft.rstrip()


def test_texts_are_one_line_each() -> None:
    assert all(each.text.strip() == each.text and "\n" not in each.text for each in SUFFIXES.values())
    assert all(each.text.strip() == each.text for each in SYSTEMS.values())
