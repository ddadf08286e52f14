"""Test helper: a tiny random ChatGLM-6B with a byte-level tokenizer. Not imported by the product."""

from __future__ import annotations

from pathlib import Path

SPECIALS = ("[gMASK]", "<eop>", "<sop>", "[MASK]", "<pad>")


def tiny_chatglm(directory: Path, seed: int = 0) -> Path:
    """A model of two layers, saved as a converted one is; returns `directory`."""
    import torch
    from camelid_core.templates.prompt_end import PROMPT_END
    from camelid_core.testing import tiny_tokenizer

    from .configuration import ChatGlmConfig
    from .model import ChatGlmForCausalLM

    tokenizer = tiny_tokenizer(SPECIALS)
    tokenizer.init_kwargs[PROMPT_END] = "[gMASK]<sop>"
    gmask, eop, sop, mask, pad = tokenizer.convert_tokens_to_ids(list(SPECIALS))
    config = ChatGlmConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=sop,
        eos_token_id=eop,
        pad_token_id=pad,
        mask_token_id=mask,
        gmask_token_id=gmask,
    )
    torch.manual_seed(seed)
    ChatGlmForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
