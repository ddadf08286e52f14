"""Keys tell the same from the different, and the compact map is a dictionary that keeps the first value."""

from __future__ import annotations

from camelid_core.quality import KeyMap, fingerprint, prompt_key
from camelid_core.quality.row_keys import seeded_hash
from camelid_core.records import Message, Record, alpaca
from hypothesis import given
from hypothesis import strategies as st

keys = st.integers(0, 40) | st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(keys, st.integers(0, 2**32 - 1)), max_size=300), st.booleans())
def test_a_key_map_keeps_what_came_first(pairs, wide):
    found, expected = KeyMap(wide), {}
    for key, value in pairs:
        key = key or 1  # zero and one are one key
        assert found.get(key) == expected.get(key, -1)
        assert found.put(key, value) == expected.get(key, -1)
        expected.setdefault(key, value)
    assert len(found) == len(expected)


def test_a_key_map_grows():
    found = KeyMap()
    for number in range(1, 50_001):
        assert found.put(seeded_hash(number, 0), number) == -1
    assert all(found.get(seeded_hash(number, 0)) == number for number in range(1, 50_001))


def test_what_is_the_same():
    base = alpaca("What is\nit?", "A  thing.")
    assert fingerprint(base) == fingerprint(alpaca("What is it? ", "A thing.", id="7", source="other"))
    assert fingerprint(alpaca("caf\u00e9", "a")) == fingerprint(alpaca("cafe\u0301", "a"))
    assert len(fingerprint(base)) == 16
    assert prompt_key(base) == prompt_key(alpaca("WHAT is it?", "Another thing."))


def test_what_differs():
    """Neither case, nor context, nor role, nor where a turn ends is lost from a fingerprint."""
    rows = [
        alpaca("a", "b"),
        alpaca("A", "b"),
        alpaca("", "b", context="a"),
        alpaca("a", "b", context="c"),
        alpaca("ab", ""),
        Record((Message("system", "a"), Message("assistant", "b"))),
        Record((Message("user", "a"), Message("assistant", "b"), Message("user", ""))),
    ]
    assert len({fingerprint(row) for row in rows}) == len(rows)
    assert prompt_key(rows[0]) != prompt_key(rows[3])


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 3))
def test_scattering_tells_keys_apart(one, two, seed):
    assert (seeded_hash(one, seed) == seeded_hash(two, seed)) == (one == two)
