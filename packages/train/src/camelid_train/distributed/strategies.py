"""Distributed strategies: how the processes of a run share its model, as arguments of the Trainer.

Knows the strategies' settings as data. Knows nothing of processes.

- ddp (data parallelism): each process has the whole model, gradients are averaged.
- fsdp: each process holds a shard of every layer and gathers the rest when it is needed (FSDP2).
- deepspeed: optimizer state and gradients are sharded (ZeRO-2), or the weights too (ZeRO-3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import group

if TYPE_CHECKING:
    from camelid_train.config import LaunchSection

_AUTO = "auto"


def arguments(section: LaunchSection) -> dict[str, Any]:
    """TrainingArguments beside those of a single process."""
    if group.current_world().size == 1:
        return {}
    common = {
        "ddp_find_unused_parameters": False,  # a causal model uses them all, and looking for them costs every step
        "ddp_broadcast_buffers": False,  # positions alone are kept there, and every process works out the same
    }
    return common | _SETTINGS[section.strategy](section)


def _fsdp(section: LaunchSection) -> dict[str, Any]:
    wrap = {"auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "reshard_after_forward": True}
    return {"fsdp": True, "fsdp_config": {"version": 2, **wrap, "state_dict_type": "FULL_STATE_DICT"}}


def _deepspeed(section: LaunchSection) -> dict[str, Any]:
    return {"deepspeed": deepspeed_config(section.zero)}


def deepspeed_config(stage: int) -> dict[str, Any]:
    """The DeepSpeed configuration of a ZeRO stage; `auto` leaves a value to the Trainer."""
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": True, "contiguous_gradients": True}
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    return {
        "zero_optimization": zero,
        "bf16": {"enabled": _AUTO},
        "fp16": {"enabled": _AUTO},
        "gradient_clipping": _AUTO,
        "gradient_accumulation_steps": _AUTO,
        "train_micro_batch_size_per_gpu": _AUTO,
        "train_batch_size": _AUTO,
        "zero_allow_untested_optimizer": True,
    }


_SETTINGS = {"ddp": lambda section: {}, "fsdp": _fsdp, "deepspeed": _deepspeed}
