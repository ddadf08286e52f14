"""What prompt tuning, P-tuning and prefix tuning have in common: virtual tokens before every row, frozen weights.

Knows their number and that they cannot be merged into weights. Padding stays on the right and needs no attention
mask: virtual tokens stand on the left, and no position looks to its right.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypeVar

from camelid_core.errors import ModelError
from pydantic import Field

from camelid_train.sections import Method

from .lora import set_base_path
from .tuning_method import MethodContext, TuningMethod


class VirtualTokensMethod(Method):
    """Virtual tokens (soft prompt) before each row."""

    tokens: int = Field(20, ge=1, le=4096)
    """Number of virtual tokens before each row; they count towards the context length. Also: `num_virtual_tokens`."""


VirtualT = TypeVar("VirtualT", bound=VirtualTokensMethod)


class VirtualTokens(TuningMethod[VirtualT]):
    """A virtual-token method; a subclass gives its peft configuration."""

    mergeable = False

    @abstractmethod
    def peft_config(self, section: VirtualT, context: MethodContext) -> Any:
        """The peft configuration of the virtual tokens."""

    def prepare(self, model: Any, section: VirtualT, context: MethodContext) -> Any:
        from peft import get_peft_model

        limit = getattr(model.config, "max_position_embeddings", None)
        if limit and section.tokens >= limit:
            raise ModelError(f"method.tokens={section.tokens} fills the model's whole context of {limit} tokens.")
        return set_base_path(get_peft_model(model, self.peft_config(section, context)), context)
