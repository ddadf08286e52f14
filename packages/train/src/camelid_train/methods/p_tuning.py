"""P-tuning: a small network, the prompt encoder, produces the embeddings of a few virtual tokens.

Knows the prompt encoder. The adapter holds the embeddings it produced; only a checkpoint has the encoder itself.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .tuning_method import MethodContext
from .virtual_tokens import VirtualTokens, VirtualTokensMethod


class PTuningMethod(VirtualTokensMethod):
    """P-tuning: a prompt encoder produces the virtual tokens, which trains more stably than bare embeddings."""

    type: Literal["p-tuning"] = "p-tuning"
    hidden: int = Field(128, ge=1, le=65536)
    """Hidden size of the prompt encoder. Also: `encoder_hidden_size`, `prompt_encoder_hidden_size`."""
    network: Literal["mlp", "lstm"] = "mlp"
    """Architecture of the prompt encoder. Also: `encoder_reparameterization_type`."""
    layers: int = Field(2, ge=1, le=16)
    """Number of layers of an lstm prompt encoder; an mlp always has two. Also: `encoder_num_layers`."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout between the layers of an lstm prompt encoder while training; without effect on an mlp or a single layer.
    Also: `encoder_dropout`."""


class PTuning(VirtualTokens[PTuningMethod]):
    name = "p-tuning"
    help = "P-tuning: a prompt encoder produces virtual tokens; kilobytes, peft only, more stable than prompt."
    config = PTuningMethod

    def peft_config(self, section: PTuningMethod, context: MethodContext) -> Any:
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
