"""IA3: learned scaling vectors on keys, values and the input of the feed-forward's last layer.

Knows which layers those are by their usual names.
"""

from __future__ import annotations

from typing import Any, Literal

from camelid_core.errors import ModelError

from camelid_train.sections import Method

from .lora import set_base_path
from .targets import check_targets, left_out, linear_names, stores_inputs_first
from .tuning_method import MethodContext, TuningMethod

_ATTENTION = ("k_proj", "v_proj"), ("query_key_value",), ("qkv_proj",), ("c_attn",), ("W_pack",), ("Wqkv",), ("k", "v")
_FEED_FORWARD = "down_proj", "dense_4h_to_h", "mlp.c_proj", "fc2", "fc_out", "w2", "wo"


class Ia3Method(Method):
    """IA3: learned scaling vectors on activations; far fewer parameters than LoRA."""

    type: Literal["ia3"] = "ia3"
    targets: list[str] = []
    """Target modules: the linear layers whose outputs are scaled; empty takes the key and value projections.
    Also: `target_modules`."""
    feed_forward: list[str] = []
    """Feed-forward modules: the linear layers whose inputs are scaled; empty takes the last one of each feed-forward
    block. Also: `feedforward_modules`."""


class Ia3(TuningMethod[Ia3Method]):
    name = "ia3"
    help = "IA3: scaling vectors on keys, values and feed-forward; the fewest parameters, needs a high learning rate."
    config = Ia3Method

    def prepare(self, model: Any, section: Ia3Method, context: MethodContext) -> Any:
        from peft import IA3Config, get_peft_model

        attention, feed_forward = ia3_targets(linear_names(model, context.adapter), section)
        config = IA3Config(
            task_type="CAUSAL_LM",
            target_modules=[*attention, *feed_forward],
            exclude_modules=left_out(model, context.adapter),
            fan_in_fan_out=stores_inputs_first(model),
            feedforward_modules=feed_forward,
        )
        return set_base_path(get_peft_model(model, config), context)


def ia3_targets(names: list[str], section: Ia3Method) -> tuple[list[str], list[str]]:
    """Layers whose outputs and layers whose inputs are scaled: the recipe's, else those with the usual names.

    Raises:
        ModelError: a named layer is not there, or none has a usual name.
    """
    check_targets(names, [name.rpartition(".")[2] for name in (*section.targets, *section.feed_forward)])
    last = {name.rpartition(".")[2] for name in names}
    attention = section.targets or next((list(group) for group in _ATTENTION if set(group) <= last), [])
    usual = [name for name in _FEED_FORWARD if any(f".{there}".endswith(f".{name}") for there in names)][:1]
    feed_forward = section.feed_forward or usual
    if not attention:
        raise ModelError(
            "IA3 does not know which layers of this model make keys and values; "
            f'name them in method.targets=["…"]. It has {", ".join(sorted(last))}.'
        )
    return attention, feed_forward


IA3 = Ia3()
