"""Makes Transformers' Auto classes know Baichuan's 13B models; called where one is about to be loaded."""

from __future__ import annotations


def register() -> None:
    """May be called again."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from .alibi_model import BaichuanAlibiConfig, BaichuanAlibiForCausalLM

    AutoConfig.register(BaichuanAlibiConfig.model_type, BaichuanAlibiConfig, exist_ok=True)
    AutoModelForCausalLM.register(BaichuanAlibiConfig, BaichuanAlibiForCausalLM, exist_ok=True)
