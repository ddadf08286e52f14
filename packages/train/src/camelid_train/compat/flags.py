"""The flags of Alpaca-CoT's `uniform_finetune.py`, with its defaults.

Knows names, types and defaults. Knows nothing of what they mean here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from camelid_core.errors import UsageError

# name, type, default, how many values
_FLAGS: tuple[tuple[str, type, Any, str | None], ...] = (
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"uniform_finetune: {message}.")


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str], set[str]]:
    """The values, what was ignored because nobody knew it, and which flags were given.

    Both `--local_rank` and `--local-rank` are taken, and `---model_type`, which a manual had.
    """
    words = [_plain(word) for word in arguments]
    parser = _Parser(prog="uniform_finetune", add_help=False, allow_abbrev=False)
    for name, kind, default, count in _FLAGS:
        parser.add_argument(
            f"--{name}", type=kind, default=default, nargs=count, const="true" if count == "?" else None
        )
    values, unknown = parser.parse_known_args(words)
    given = {name for name, *_ in _FLAGS for word in words if word.partition("=")[0] == f"--{name}"}
    return values, unknown, given


def _plain(word: str) -> str:
    if not re.match(r"-{2,}[A-Za-z]", word):
        return word
    name, equals, value = word.lstrip("-").partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"
