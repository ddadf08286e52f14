"""Full fine-tuning: every weight learns, and the result is a whole model.

Knows dtypes: the master weights are float32 whatever model.dtype says, because a bfloat16 weight rounds small updates
away; model.dtype is what training computes in (mixed precision), and what is saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from camelid_train.sections import Method

from .tuning_method import MethodContext, TuningMethod, refuse_quantised

if TYPE_CHECKING:
    from camelid_core.models.loading import Dtype
    from camelid_core.models.resolved_model import ResolvedModel


class FullMethod(Method):
    """Full fine-tuning: every weight of the model learns."""

    type: Literal["full"] = "full"
    embeddings: bool = True
    """Train the token embeddings and the output layer too; false freezes them, which saves memory and leaves rare
    tokens unchanged."""
    shard: str = "4GB"
    """Maximum size of one weight file (shard) of the saved model, such as 500MB or 4GB. Also: `max_shard_size`."""


class Full(TuningMethod[FullMethod]):
    name = "full"
    help = "Full fine-tuning: every weight learns; the most memory, the most capacity, and a whole model as the result."
    config = FullMethod
    kind = "model"
    mergeable = False

    def load(self, resolved: ResolvedModel, dtype: Dtype, section: FullMethod) -> Any:
        from camelid_core.models.loading import load_base

        refuse_quantised(resolved)
        return load_base(resolved, "float32")

    def prepare(self, model: Any, section: FullMethod, context: MethodContext) -> Any:
        model.requires_grad_(True)
        if not section.embeddings:
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                layer.requires_grad_(False)
        return model

    def save(self, model: Any, section: FullMethod, context: MethodContext, directory: Path) -> None:
        """Save in the recipe's dtype, else in the base's own."""
        import torch

        base = context.resolved.config
        stored = base.get("dtype") or base.get("torch_dtype") or "float32"
        model.to(getattr(torch, stored if context.dtype == "auto" else context.dtype))
        model.save_pretrained(directory, max_shard_size=section.shard)


FULL = Full()
