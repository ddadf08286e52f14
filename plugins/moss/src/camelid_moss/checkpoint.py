"""MOSS's checkpoints as CodeGen: tensors and settings keep their names, cached causal masks are left out.

Source: `modeling_moss.py` of github.com/OpenMOSS/MOSS, whose attention is CodeGen's, four blocks of heads and all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.models.checkpoint_converters import ConversionProgress, Converted
from camelid_core.models.llama_target import check_untied, positive_number
from camelid_core.models.original_weights import OriginalWeights
from camelid_core.models.resolved_model import read_object
from camelid_core.models.tensor_rules import TensorRule, convert_weights, renamed

from .tokenizer import write_tokenizer

_MASKS = r"transformer\.h\.\d+\.attn\.(causal_mask|bias|masked_bias)"
_KEPT = (
    "vocab_size", "n_positions", "n_ctx", "n_embd", "n_layer", "n_head", "rotary_dim", "n_inner", "activation_function",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "initializer_range", "bos_token_id",
    "eos_token_id",
)  # fmt: skip
_BLOCKS = 4
"""The heads' projections lie in this many blocks, each with queries, values and keys of its share of the heads."""
_NOTE = (
    "The checkpoint does not say whether it was tuned for dialogue; it is taken as it was (template 'moss'). For the "
    "base model, give another one with --template."
)


def convert(source: Path, output: Path, progress: ConversionProgress) -> Converted:
    config = read_object(source / "config.json")
    check_untied(config)
    if config.get("wbits", 32) < 16:
        raise ModelError(
            f"this MOSS is quantised (wbits {config['wbits']}), which is not converted; take the repository without "
            "int4 or int8 in its name."
        )
    weights = OriginalWeights(source)
    rules = list(_rules(config))
    write_tokenizer(source, output, positive_number(config, "n_positions"))
    convert_weights(weights, rules, output, progress, ignored=_MASKS)
    _write_config(config, weights, output)
    return Converted("moss", (_NOTE,))


def adapter_rules(config: Mapping[str, Any]) -> list[TensorRule]:
    """Rules of the layers that LoRA can be on, for a converted model's configuration."""
    return [rule for rule in _rules(config) if ".h." in next(iter(rule.sources))]


def _write_config(config: Mapping[str, Any], weights: OriginalWeights, output: Path) -> None:
    from transformers import CodeGenConfig

    made = CodeGenConfig(**{name: config[name] for name in _KEPT if name in config}, tie_word_embeddings=False)
    made.architectures = ["CodeGenForCausalLM"]
    made.dtype = weights.dtype("transformer.wte.weight")
    made.save_pretrained(output)


def _rules(config: Mapping[str, Any]) -> Iterator[TensorRule]:
    words, width, layers = (positive_number(config, name) for name in ("vocab_size", "n_embd", "n_layer"))
    heads = positive_number(config, "n_head")
    if width % heads or heads % _BLOCKS:
        raise ModelError(
            f"config.json has n_embd {width} and n_head {heads}: heads must divide the width, and {_BLOCKS} the heads. "
            "Copy it again."
        )
    inner = positive_number(config, "n_inner") if config.get("n_inner") else 4 * width
    yield _kept("transformer.wte.weight", words, width)
    for number in range(layers):
        layer = f"transformer.h.{number}"
        shapes: dict[str, tuple[int, ...]] = {
            "ln_1.weight": (width,),
            "ln_1.bias": (width,),
            "attn.qkv_proj.weight": (3 * width, width),
            "attn.out_proj.weight": (width, width),
            "mlp.fc_in.weight": (inner, width),
            "mlp.fc_in.bias": (inner,),
            "mlp.fc_out.weight": (width, inner),
            "mlp.fc_out.bias": (width,),
        }
        yield from (_kept(f"{layer}.{name}", *shape) for name, shape in shapes.items())
    yield _kept("transformer.ln_f.weight", width)
    yield _kept("transformer.ln_f.bias", width)
    yield _kept("lm_head.weight", words, width)
    yield _kept("lm_head.bias", words)


def _kept(name: str, *shape: int) -> TensorRule:
    return renamed(name, name, *shape)
