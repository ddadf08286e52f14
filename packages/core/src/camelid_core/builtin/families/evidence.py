"""Names of the tests that show what a family can do, by capability, and sentences that several families share."""

from __future__ import annotations

from collections.abc import Mapping

_TABLE = "tests/test_families.py"
EVIDENCE = {
    "lora": f"{_TABLE}::test_a_family_is_trained_merged_and_asked",
    "batching": f"{_TABLE}::test_rows_of_a_batch_cost_what_each_costs_alone",
    "packing": f"{_TABLE}::test_rows_of_a_batch_cost_what_each_costs_alone",
    "qlora": f"{_TABLE}::test_qlora_learns_on_a_quantised_base_or_is_refused",
    "long-context": f"{_TABLE}::test_positions_are_scaled_or_that_is_refused",
}

MASK_ALONE = "Transformers reads these models' attention mask alone, which knows no packed rows."
TABLE_ENDS = "Its positions stand in a table that ends; there are no rotary positions to scale."
ALIBI = "Its positions are a bias by distance (ALiBi); there are no rotary positions to scale, and none are needed."
TWO_KINDS = "Its layers have rotary positions of two kinds, local and global, and a recipe scales one."


def verified_but(refusals: Mapping[str, str] | None = None) -> dict[str, str]:
    """All tests but those of what the family refuses."""
    return {name: test for name, test in EVIDENCE.items() if name not in (refusals or {})}
