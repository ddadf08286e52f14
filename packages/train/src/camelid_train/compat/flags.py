"""The flags of Alpaca-CoT's `uniform_finetune.py`, with its defaults.

Knows names, types and defaults. Knows nothing of what they mean here.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from camelid_core.compat import arguments as arguments_of

_FLAGS: tuple[arguments_of.Flag, ...] = (
    ("size", str, None, None),
    ("data", str, None, "*"),
    ("local_rank", int, -1, None),
    ("model_type", str, "llama", None),
    ("model_name_or_path", str, None, None),
    ("per_gpu_train_batch_size", int, 4, None),
    ("gradient_accumulation_steps", int, 32, None),
    ("epochs", float, 3, None),
    ("learning_rate", float, 3e-4, None),
    ("cutoff_len", int, 512, None),
    ("lora_r", int, 8, None),
    ("lora_alpha", int, 16, None),
    ("lora_dropout", float, 0.05, None),
    ("val_set_size", int, 2000, None),
    ("lora_target_modules", str, None, "+"),
    ("resume_from_checkpoint", str, None, "?"),
    ("peft_type", str, "lora", None),
    ("adalora_init_r", int, 12, None),
    ("adalora_tinit", int, 200, None),
    ("adalora_tfinal", int, 1000, None),
    ("adalora_delta_t", int, 10, None),
    ("num_virtual_tokens", int, 20, None),
    ("prompt_encoder_hidden_size", int, 128, None),
    ("report_to", str, None, None),
    ("quantization_bit", int, None, None),
    ("compute_dtype", str, "fp16", None),
    ("output_dir", str, None, None),
)
LATER = frozenset(
    {"peft_type", "report_to", "quantization_bit", "compute_dtype", "output_dir", "num_virtual_tokens"}
    | {name for name, *_ in _FLAGS if name.startswith("adalora")}
)
"""Flags that came after April 2023, with another way to name the output."""


def parse(arguments: Sequence[str]) -> tuple[Namespace, list[str], set[str]]:
    """The values, unknown flags (ignored), and which flags were given."""
    return arguments_of.parse("uniform_finetune", _FLAGS, arguments)
