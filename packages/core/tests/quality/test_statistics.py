"""One pass counts everything, in bounded memory; cleaning accounts for every row."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from camelid_core.errors import UnknownName, UsageError
from camelid_core.quality import LINTS, RowAccount, clean, compute_stats
from camelid_core.quality.statistics import LengthHistogram
from camelid_core.records import Message, Record, alpaca
from hypothesis import given
from hypothesis import strategies as st

records = st.lists(
    st.builds(
        alpaca,
        st.sampled_from(["a", "b", "What?"]),
        st.sampled_from(["", "x #tag", "As an AI language model, no.", "fine, thanks"]),
        st.sampled_from(["", "c"]),
        tags=st.sampled_from([(), ("system",), ("code", "math")]),
    ),
    max_size=25,
)


@given(records)
def test_the_counts_are_those_of_a_plain_count(rows):
    found = compute_stats(iter(rows), languages=False)
    assert found.rows == len(rows)
    assert found.with_context == sum(bool(row.messages[0].context) for row in rows)
    assert found.tags == Counter(tag for row in rows for tag in row.tags)
    assert found.answer.total == sum(len(row.answer) for row in rows)
    assert found.conversation.bins() == [] or sum(rows for _, _, rows in found.conversation.bins()) == len(rows)
    for name, finding in found.findings.items():
        find = LINTS[name].start()
        hits = [(number, what) for number, row in enumerate(rows, 1) if (what := find(row))]
        assert (finding.rows, finding.examples) == (len(hits), hits[:3])
    assert json.loads(json.dumps(found.as_dict()))["rows"] == len(rows)


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=60), st.floats(0.01, 1))
def test_quantiles_are_near(lengths, share):
    counted = LengthHistogram()
    for length in lengths:
        counted.add(length)
    exact = sorted(lengths)[max(0, -int(-share * len(lengths) // 1) - 1)]
    assert exact * 0.94 - 1 <= counted.quantile(share) <= exact * 1.01
    assert all(low <= high for low, high, _ in counted.bins())
    assert sum(rows for _, _, rows in counted.bins()) == len(lengths)


def test_lints_are_chosen_by_name():
    rows = [alpaca("a", ""), alpaca("a", "")]
    assert set(compute_stats(rows, ["duplicate"], languages=False).findings) == {"duplicate"}
    assert compute_stats(rows, [], languages=False).findings == {}
    with pytest.raises(UnknownName, match="Did you mean 'duplicate'"):
        compute_stats(rows, ["duplicat"])


def test_without_the_extra_there_are_no_languages_but_a_note(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "py3langid", None)
    found = compute_stats([alpaca("a", "b")])
    assert found.languages is None
    assert "camelid-core[quality]" in found.notes[0]


@given(records, st.sets(st.sampled_from(["refusal", "empty-output", "duplicate"])), st.booleans(), st.booleans())
def test_cleaning_accounts_for_every_row_and_leaves_none_to_drop(rows, drop, exact, tagged):
    account = RowAccount("here")
    given_tags = ["system"] if tagged else []
    deduplicate = "exact" if exact else "no"
    kept = list(clean(rows, drop, ["trailing-hashtags"], deduplicate, given_tags, account=account))
    assert (account.read, account.kept) == (len(rows), len(kept))
    assert account.read == account.kept + account.dropped.total()
    assert account.fixed["trailing-hashtags"] == sum("#tag" in row.answer for row in rows)
    assert list(clean(kept, drop, (), deduplicate, given_tags)) == kept
    assert not any("#tag" in row.answer for row in kept)


def test_what_has_no_fix_is_refused():
    with pytest.raises(UsageError, match="lint 'refusal' has no fix; drop the rows"):
        clean([], fix=["refusal"])


def test_conversations_of_many_turns_are_counted_by_their_turns():
    chat = Record((Message("system", "s"), Message("user", "u"), Message("assistant", "a")))
    found = compute_stats([chat, alpaca("u", "a")], languages=False)
    assert found.turns == {3: 1, 2: 1}
    assert found.with_system == 1


def test_names_of_tags_do_not_fill_the_memory():
    found = compute_stats((alpaca("a", "b", tags=(str(n),)) for n in range(1000)), [], languages=False)
    assert len(found.tags) <= 201
    assert found.tags["…"] == 800
