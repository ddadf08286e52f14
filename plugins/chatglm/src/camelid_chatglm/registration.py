"""Registers ChatGLM-6B with Transformers' Auto classes; called where a model of the family is about to be loaded."""

from __future__ import annotations


def register() -> None:
    """Afterwards `AutoConfig`, `AutoModelForCausalLM` and `AutoTokenizer` know the model type; may be called again."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    from .configuration import ChatGlmConfig
    from .model import ChatGlmForCausalLM

    AutoConfig.register(ChatGlmConfig.model_type, ChatGlmConfig, exist_ok=True)
    AutoModelForCausalLM.register(ChatGlmConfig, ChatGlmForCausalLM, exist_ok=True)
    AutoTokenizer.register(ChatGlmConfig, fast_tokenizer_class=PreTrainedTokenizerFast, exist_ok=True)
