"""Alpaca-CoT's model families (`--model_type`), as data: which weights a short name meant, and how they were loaded.

Knows names. How Camelid itself recognises a family is a model adapter's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_WEIGHTS = "decapoda-research/llama-7b-hf"


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """`weights` by size, the first being the default; `eight_bit` types were loaded in 8 bits. `template` is what its
    programs asked the bare weights with, `adapter_template` what they asked an adapter with."""

    name: str
    weights: dict[str, str] = field(default_factory=dict)
    eight_bit: bool = False
    template: str = "alpaca"
    adapter_template: str = "alpaca"
    notes: tuple[str, ...] = ()


_OWN_CODE = "The code of these weights comes with them, and Camelid runs no code from a model"
_CONVERTED = f"{_OWN_CODE}: `camelid models pull` converts them as it fetches, `camelid models convert` a copy of them."

FAMILIES = {
    family.name: family
    for family in (
        ModelFamily(
            "llama",
            {"7b": DEFAULT_WEIGHTS, "13b": "decapoda-research/llama-13b-hf"},
            eight_bit=True,
        ),
        ModelFamily(
            "chatglm",
            {"6b": "THUDM/chatglm-6b"},
            template="chatglm",
            notes=(_CONVERTED,),
        ),
        ModelFamily("bloom", {"7b": "bigscience/bloomz-7b1-mt"}, eight_bit=True),
        ModelFamily(
            "moss",
            {"": "fnlp/moss-moon-003-sft"},
            eight_bit=True,
            adapter_template="moss-alpaca",
            notes=(_CONVERTED,),
        ),
        ModelFamily("chatglm2", {"6b": "THUDM/chatglm2-6b"}, template="chatglm-2", notes=(_CONVERTED,)),
        ModelFamily("baichuan", notes=(_CONVERTED,)),
        ModelFamily("internlm", {"7b": "internlm/internlm-7b"}, notes=(_CONVERTED,)),
        ModelFamily("vicuna", eight_bit=True),
    )
}


def family_of(model_type: str) -> ModelFamily:
    """The family of a model type; one that is not listed was loaded by transformers' auto classes."""
    return FAMILIES.get(model_type, ModelFamily(model_type))


def weights_of(model_type: str, size: str | None) -> str:
    """`llama` and `7b`, or the short name `llama_7b` itself → the weights that were meant; empty if unknown."""
    name, _, own_size = model_type.partition("_")
    family, size = family_of(name), size or own_size
    if size:
        return family.weights.get(size.lower(), "")
    return next(iter(family.weights.values()), "")
