"""Mixtures: planned shares are the actual ones; the command says the same; a mixture can be saved."""

from __future__ import annotations

import shlex

import pytest
from camelid_core.errors import CamelidError, UsageError
from camelid_core.mixing import Mixture, mix
from camelid_ui.services.data.mix import source_text
from camelid_ui.tabs.data.mix_handlers import SEPARATOR, mixture, sources_of, with_fields, with_source
from hypothesis import given
from hypothesis import strategies as st

EN, ZH = "cot-arithmetic-en", "cot-arithmetic-zh"
NAMES = st.from_regex(r"[a-z][a-z0-9._-]{0,9}", fullmatch=True)


@pytest.mark.parametrize(
    "made",
    [
        Mixture(sources=[EN, f"{ZH}:0.25"]),
        Mixture(sources=[EN, f"{ZH}:0.25"], temperature=4),
        Mixture(sources=[EN, ZH], caps={EN: 100}),
        Mixture(sources=[f"{EN}+{ZH}:2"], rows=600),
    ],
)
def test_the_plan_is_what_mixing_gives(services, made):
    parts = services.data.mix.plan(made)
    really = mix(made, services.host.datasets)
    assert [part.taken for part in parts] == [account.taken for account in really.account]
    assert sum(part.share for part in parts) == pytest.approx(1)


def test_the_command_says_everything(services):
    made = Mixture(
        sources=[EN, f"{ZH}:0.5"], temperature=2, caps={EN: 9}, rows=20, deduplicate="exact", drop_tags=["a b"],
        drop_lints=["refusal"],
    )  # fmt: skip
    words = shlex.split(services.data.mix.command(made, "two"))
    assert words[:5] == ["camelid", "datasets", "mix", EN, f"{ZH}:0.5"]
    for pair in ("--name two", "--temperature 2", f"--cap {EN}=9", "--rows 20", "--dedupe exact", "--drop refusal"):
        assert pair in " ".join(words)
    assert "a b" in words


def test_a_mixture_becomes_a_dataset(services):
    made = Mixture(sources=[EN, ZH], caps={EN: 30, ZH: 10})
    work = services.data.mix.save(made, "both").wait(240)
    assert work.state == "done", work.error
    entry = services.data.collection.show("both")
    assert (entry.rows, entry.added) == (40, True)
    assert set(entry.languages) == {"en", "zh"}
    assert "--cap" in entry.step
    with pytest.raises(UsageError, match="already"):
        services.data.mix.save(made, "both")


def test_what_cannot_be_mixed_is_reported(services):
    with pytest.raises(CamelidError, match="no-such"):
        services.data.mix.plan(Mixture(sources=["no-such"]))
    with pytest.raises(CamelidError):
        mixture(EN, {}, 0.5, "many", "no", [], [])


@given(st.lists(st.tuples(NAMES, st.sampled_from([0.01, 0.25, 0.5, 1.0, 2.0, 7.25])), unique_by=lambda part: part[0]))
def test_the_address_keeps_sources_and_weights(parts):
    text = SEPARATOR.join(source_text(name, weight) for name, weight in parts)
    assert [(source.name, source.weight) for source in sources_of(text)] == parts


def test_fields_of_the_list_change_the_mixture():
    text = with_source(with_source("", "a"), "b")
    assert with_source(text, "a") == text == "a,b"
    fields = {"weight:a": "0.5", "cap:a": "", "weight:b": "1", "cap:b": "100"}
    text, caps = with_fields(text, fields)
    assert (text, caps) == ("a:0.5,b", {"b": 100})
    assert with_fields(text, fields | {"cap:b": ""}) == (text, {})
    assert with_fields(text, fields | {"weight:a": "-", "weight:b": "nan"}) == (text, caps)  # no number yet
    assert with_fields(with_source(text, "c"), fields) == ("a:0.5,b,c", caps)  # which was added just now
    assert with_fields(text, fields, without="a") == ("b", caps)
    made = mixture(text, caps, 1, "", "no", [], [])
    assert (made.sources, made.caps, made.rows) == (["a:0.5", "b"], {"b": 100}, None)
