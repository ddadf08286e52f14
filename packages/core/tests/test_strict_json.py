"""Strict JSON: no repeated keys, no NaN or infinity."""

from __future__ import annotations

import json

import pytest
from camelid_core import strict_json
from hypothesis import given
from hypothesis import strategies as st

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_every_value_comes_back(value):
    assert strict_json.loads(json.dumps(value)) == value


@given(st.dictionaries(st.text(), st.none(), min_size=1), st.data())
def test_a_key_that_stands_twice_is_refused_by_name(row, data):
    key = data.draw(st.sampled_from(sorted(row)))
    members = [f"{json.dumps(name)}: null" for name in [*row, key]]
    with pytest.raises(ValueError, match="stands twice") as caught:
        strict_json.loads("[{" + ", ".join(members) + "}]")
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1" * 5000, "[", "", "{'a': 1}", "[1] [2]", "\ufeff1"]
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        strict_json.loads(text)
