"""A mapping is written as it is read."""

from __future__ import annotations

from camelid_core.readers import Columns
from camelid_core.readers.column_mapping import COLUMN_FIELDS
from hypothesis import given
from hypothesis import strategies as st

column = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(["a, b", "x=y"])
enough = st.fixed_dictionaries(
    {"instruction": column, "output": column},
    optional=dict.fromkeys(set(COLUMN_FIELDS) - {"instruction", "output"}, column),
)


@given(enough)
def test_every_mapping_comes_back(given_names):
    columns = Columns(**given_names)
    assert Columns.parse(str(columns)) == columns
    assert columns.used() == given_names
