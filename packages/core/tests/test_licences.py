"""Licences: identifiers for what people write, expressions that hide no part, what is carried from data to model."""

from __future__ import annotations

import pytest
from camelid_core.artefacts import DatasetUse, Licences
from camelid_core.datasets import library
from camelid_core.licences import (
    UNKNOWN,
    combined,
    generator_terms,
    in_words,
    licence_id,
    non_commercial,
    stated_licence,
)
from camelid_core.records import alpaca
from hypothesis import given
from hypothesis import strategies as st

IDS = ["mit", "apache-2.0", "cc-by-nc-4.0", "cc-by-sa-3.0", "llama2", "house rules", UNKNOWN]
EXCLUDING = ["cc-by-nc-4.0", "cc-by-nc-sa-3.0", "cc-nc-4.0", "llama", "research-only", "PolyForm-Noncommercial-1.0.0"]
ALLOWING = ["mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-sa-4.0", "odc-by", "gpl-3.0", "cdla-sharing-1.0",
            "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "llama3.1", "gemma"]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "identifier"),
    [
        ("CC BY-NC 4.0", "cc-by-nc-4.0"), ("Apache License, Version 2.0", "apache-2.0"), ("The MIT License", "mit"),
        ("GPLv3", "gpl-3.0"), ("LGPL-2.1-only", "lgpl-2.1-only"), ("", UNKNOWN), (" ", UNKNOWN),
        ("House Rules", "House Rules"), ("MIT AND CC-BY-NC-4.0", "mit AND cc-by-nc-4.0"),
    ],
)  # fmt: skip
def test_a_licence_has_one_identifier_however_it_is_written(written, identifier):
    assert licence_id(written) == identifier
    assert licence_id(identifier) == identifier


@given(st.lists(st.sampled_from(IDS), max_size=5), st.lists(st.sampled_from(IDS), max_size=3))
def test_an_expression_hides_no_part_and_does_not_depend_on_how_it_was_put_together(first, second):
    whole = combined([*first, *second])
    assert set(whole.split(" AND ")) == (set(first + second) or {UNKNOWN})
    assert whole == combined([combined(second), combined(first)]) or not (first and second)
    parts = {non_commercial(part) for part in whole.split(" AND ")}
    assert non_commercial(whole) == (True if True in parts else UNKNOWN if UNKNOWN in parts else False)


def test_commercial_use_is_excluded_allowed_or_not_known():
    assert all(non_commercial(each) is True for each in EXCLUDING)
    assert all(non_commercial(each) is False for each in ALLOWING)
    assert {non_commercial(each) for each in (UNKNOWN, "other", "proprietary", "house rules")} == {UNKNOWN}
    assert in_words("mit AND cc-by-nc-4.0").endswith("(no commercial use)")
    assert in_words("mit") == "mit"


def test_terms_of_a_service_follow_from_who_made_the_data():
    assert generator_terms("distillation from GPT-3.5-turbo") == ["openai-terms-of-use"]
    assert generator_terms("text-davinci-003, checked with Claude") == [
        "openai-terms-of-use",
        "anthropic-terms-of-service",
    ]
    assert generator_terms("human annotated") == []


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: Apache-2.0\nlanguage: en\n---\n# A", "apache-2.0"),
        ("---\nlanguage: en\nlicense: other\nlicense_name: house-rules\n---\n", "house-rules"),
        ("---\nlicense: other\n---\n", UNKNOWN),
        ("---\nlicense:\n- mit\n- cc-by-nc-4.0\n---\n", "cc-by-nc-4.0 AND mit"),
        ("---\nlicense:\nlanguage: en\n---\n", UNKNOWN),
        ("---\nlicense: mit  # as ever\n---\n", "mit"),
        ("---\n*a: [\n---\n", UNKNOWN),
        ("# A model\nlicense: mit\n", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_models_own_card_states_its_licence(tmp_path, card, licence):
    assert stated_licence(tmp_path) == UNKNOWN
    (tmp_path / "README.md").write_text(card)
    assert stated_licence(tmp_path) == licence


def test_what_a_dataset_inherits_reaches_the_manifest_of_a_model(home):
    parts = [
        library.add([alpaca("a", "b")], "ours", licence="MIT License", citation="@a", languages=["en"]),
        library.add(
            [alpaca("c", "d")], "theirs", licence="cc-by-nc-4.0", generator=generator_terms("GPT-4"), citation="@b"
        ),
    ]
    mixed = library.add([alpaca("a", "b"), alpaca("c", "d")], "both", **library.inherited(parts))
    again = library.add([alpaca("a", "b")], "both-v2", **library.inherited([mixed, parts[0]]))
    assert (again.licence, again.languages, again.citation) == ("cc-by-nc-4.0 AND mit", ("en",), "@a\n\n@b")
    use = DatasetUse(id=again.name, rows=1, sha256="", licence=again.licence, generator=list(again.generator))
    licences = Licences.of("apache-2.0", [use], ["anthropic-terms-of-service"])
    assert licences == Licences(
        base="apache-2.0",
        data=["cc-by-nc-4.0 AND mit"],
        generator=["anthropic-terms-of-service", "openai-terms-of-use"],
        effective="apache-2.0 AND cc-by-nc-4.0 AND mit",
        non_commercial=True,
    )
