"""Sentences for people that several modules of this plugin say. Knows no model."""

from __future__ import annotations


def odd_note(matrices: int, group_size: int) -> str:
    """What is done with columns that are no multiple of the group size."""
    return (
        f"{matrices} matrices have columns that are no multiple of the group size {group_size}: their last group is "
        "smaller. Camelid computes with that; elsewhere ask for GPTQModel's plain kernel, GPTQConfig(bits=…, "
        'backend="torch"): the others do not take it. A smaller group size may divide them.'
    )
