"""Prompt tuning: the embeddings of a few virtual tokens learn, nothing else.

Knows how they are initialised.
"""

from __future__ import annotations

from typing import Any, Literal

from .tuning_method import MethodContext
from .virtual_tokens import VirtualTokens, VirtualTokensMethod


class PromptMethod(VirtualTokensMethod):
    """Prompt tuning: learned embeddings (a soft prompt) before each row; the smallest of all adapters."""

    type: Literal["prompt"] = "prompt"
    initial: Literal["vocabulary", "random"] = "vocabulary"
    """Initialisation of the virtual tokens: embeddings of random tokens of the vocabulary, or random numbers.
    Also: `prompt_tuning_init`."""
    text: str = ""
    """Initialise from the embeddings of this text instead, such as a description of the task; empty uses
    `method.initial`. Also: `prompt_tuning_init_text`."""


class Prompt(VirtualTokens[PromptMethod]):
    name = "prompt"
    help = "Prompt tuning: embeddings of virtual tokens learn; kilobytes, peft only, needs a high learning rate."
    config = PromptMethod

    def peft_config(self, section: PromptMethod, context: MethodContext) -> Any:
        from peft import PromptTuningConfig

        starts = {"vocabulary": "SAMPLE_VOCAB", "random": "RANDOM"}
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=section.tokens,
            prompt_tuning_init="TEXT" if section.text else starts[section.initial],
            prompt_tuning_init_text=section.text or None,
            tokenizer_name_or_path=str(context.resolved.base) if section.text else None,
        )


PROMPT = Prompt()
