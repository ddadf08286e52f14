"""Held-out rows: as many as asked, chosen by seed, and no copy of them on the other side."""

from __future__ import annotations

from camelid_core.mixing.heldout import HeldOut, HeldOutSelection
from camelid_core.quality import conversation_key
from camelid_core.records import Message, Record, alpaca
from hypothesis import given
from hypothesis import strategies as st


def heldout(rows, count: int, seed: int) -> HeldOut:
    selection = HeldOutSelection(count, seed)
    for number, record in enumerate(rows):
        selection.add_row(record, row=number)
    return selection.result()


prompts = st.lists(st.integers(0, 60), max_size=150)
spaces = st.sampled_from(["What is {}?", "what  is {}?", " What is\n{}? "])


@given(prompts, st.lists(spaces, min_size=1, max_size=3), st.integers(0, 12), st.integers(0, 4))
def test_exactly_as_many_clusters_as_asked_and_none_on_both_sides(numbers, forms, count, seed):
    rows = [alpaca(forms[at % len(forms)].format(n), f"answer {at}") for at, n in enumerate(numbers)]
    held = heldout(rows, count, seed)
    clusters = set(map(conversation_key, rows))
    assert len(clusters) == len(set(numbers))
    assert len(held.keys) == len(held.records) == min(count, len(clusters) // 10)
    assert {conversation_key(record) for record in held.records} == held.keys
    assert [row for _, row in held.places] == sorted(
        (row for _, row in held.places), key=lambda r: held.places.index((0, r))
    )
    assert {row for _, row in held.places} == {at for at, row in enumerate(rows) if conversation_key(row) in held.keys}


@given(st.permutations(list(range(80))), st.integers(0, 4))
def test_the_choice_depends_on_the_rows_and_the_seed_not_on_their_order(order, seed):
    rows = [alpaca(f"question {n}", "a") for n in order]
    assert heldout(rows, 5, seed).keys == heldout(sorted(rows, key=lambda r: r.messages[0].content), 5, seed).keys


def test_another_seed_chooses_otherwise():
    rows = [alpaca(f"question {n}", "a") for n in range(200)]
    assert heldout(rows, 10, 0).keys != heldout(rows, 10, 1).keys


@given(st.lists(st.integers(1, 4), min_size=10, max_size=60), st.integers(1, 6), st.integers(0, 4), st.booleans())
def test_a_conversation_that_is_stored_as_a_row_per_turn_lies_on_one_side(turns, count, seed, system):
    rows = []
    for number, long in enumerate(turns):
        said = [Message("system", "Be brief.")] if system else []
        for turn in range(long):
            said += [Message("user", f"{number} asks {turn}"), Message("assistant", f"{turn}")]
            rows.append((number, Record(tuple(said))))
    held = heldout([record for _, record in rows], count, seed)
    out = {row for _, row in held.places}
    assert len(held.records) == min(count, len(turns) // 10)
    assert {rows[row][0] for row in out}.isdisjoint(number for row, (number, _) in enumerate(rows) if row not in out)
