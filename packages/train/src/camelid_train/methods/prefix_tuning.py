"""Prefix tuning: learned keys and values before each row in every layer.

Knows how they are parametrised.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .tuning_method import MethodContext
from .virtual_tokens import VirtualTokens, VirtualTokensMethod


class PrefixMethod(VirtualTokensMethod):
    """Prefix tuning: learned keys and values before each row, in every layer."""

    type: Literal["prefix"] = "prefix"
    projection: bool = False
    """Prefix projection: produce the prefix by a two-layer MLP, which trains more stably; the MLP is not saved with the
    result. Also: `prefix_projection`."""
    hidden: int = Field(128, ge=1, le=65536)
    """Hidden size of that MLP. Also: `encoder_hidden_size`."""


class Prefix(VirtualTokens[PrefixMethod]):
    name = "prefix"
    help = "Prefix tuning: keys and values of virtual tokens learn in every layer; stronger than prompt, peft only."
    config = PrefixMethod

    def peft_config(self, section: PrefixMethod, context: MethodContext) -> Any:
        from peft import PrefixTuningConfig

        return PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=section.tokens,
            prefix_projection=section.projection,
            encoder_hidden_size=section.hidden,
        )


PREFIX = Prefix()
