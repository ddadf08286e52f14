"""P-tuning: a small network writes the embeddings of a few virtual tokens.

Knows the network. What is saved is what it wrote; only a checkpoint keeps the network itself.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .base import Situation
from .virtual_tokens import Virtual, VirtualFields


class PTuningMethod(VirtualFields):
    """Virtual tokens written by a small network, which learns more steadily than bare embeddings."""

    type: Literal["p-tuning"] = "p-tuning"
    hidden: int = Field(128, ge=1, le=65536)
    """Width of the network that writes the virtual tokens."""
    network: Literal["mlp", "lstm"] = "mlp"
    """Its kind."""
    layers: int = Field(2, ge=1, le=16)
    """Layers of an lstm; an mlp always has two."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the network's values dropped while training, where it has several lstm layers."""


class PTuning(Virtual[PTuningMethod]):
    name = "p-tuning"
    help = "A small network writes virtual tokens: kilobytes, for use through peft alone; steadier than prompt."
    config = PTuningMethod

    def peft_config(self, section: PTuningMethod, situation: Situation) -> Any:
        from peft import PromptEncoderConfig

        return PromptEncoderConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=section.tokens,
            encoder_hidden_size=section.hidden,
            encoder_reparameterization_type=section.network.upper(),
            encoder_num_layers=2 if section.network == "mlp" else section.layers,
            encoder_dropout=section.dropout if section.network == "lstm" else 0.0,
        )


P_TUNING = PTuning()
