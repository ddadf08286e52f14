"""Adapters as other tools make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def adapter() -> Callable[..., Path]:
    """`adapter(base, directory, **options)`: a foreign adapter of random weights, with options of `LoraConfig`."""
    return _adapter


def _adapter(base: Path, directory: Path, seed: int = 0, scale: float = 0.1, **options) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(**{"r": 4, "task_type": "CAUSAL_LM", "init_lora_weights": False} | options)
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(scale * torch.randn_like(parameter))
    tuned.save_pretrained(directory, save_embedding_layers=False)
    AutoTokenizer.from_pretrained(base).save_pretrained(directory)
    return directory
