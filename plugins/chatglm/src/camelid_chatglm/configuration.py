"""Configuration of ChatGLM-6B (the first ChatGLM) as Transformers' own classes name things. Knows no tensors."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class ChatGlmConfig(PreTrainedConfig):
    """Sizes and control tokens; the defaults are those of THUDM/chatglm-6b v1.1.0.

    `bos_token_id` is `<sop>`: what stands before it is the prompt, which attends to itself in both directions.
    `gmask_token_id` ([gMASK]) or `mask_token_id` ([MASK]) stands where the answer belongs.
    """

    model_type = "chatglm_6b"
    keys_to_ignore_at_inference = ["past_key_values"]
    prefix_attention = True
    """No token of a prompt can be computed before the whole prompt is known."""

    vocab_size: int = 130528
    hidden_size: int = 4096
    intermediate_size: int = 16384
    num_hidden_layers: int = 28
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = True
    bos_token_id: int = 130004
    eos_token_id: int | list[int] | None = 130005
    pad_token_id: int = 3
    mask_token_id: int = 130000
    gmask_token_id: int = 130001

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads
