"""`TuningMethod`: the interface of a tuning method; `Method` is the recipe section that chooses one.

Knows the contract between a method and the loop. Imports no torch.
A method is one file: a `Method` section with its hyperparameters, a `TuningMethod` that reads it, one instance of that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from camelid_core.errors import ModelError
from camelid_core.models.adapters import ModelAdapter

from camelid_train.sections import Method

if TYPE_CHECKING:
    from camelid_core.models.loading import Dtype
    from camelid_core.models.resolved_model import ResolvedModel


MethodT = TypeVar("MethodT", bound=Method)


@dataclass(frozen=True, slots=True)
class MethodContext:
    """What a method may need from the run: the base model and the recipe's dtype, the number of optimizer steps, and
    `batches`, training batches in the order of the loop (`input_ids`, `labels`)."""

    resolved: ResolvedModel
    dtype: Dtype = "auto"
    steps: int = 1
    batches: Callable[[], Iterator[dict[str, Any]]] = lambda: iter(())

    @property
    def adapter(self) -> ModelAdapter:
        return self.resolved.adapter


class TuningMethod(ABC, Generic[MethodT]):
    """One tuning method. Only `prepare` must be written; the other defaults suit most methods.

    `kind` is the kind of the result: an `adapter` that needs its base, or a whole `model`.
    `mergeable` says whether an adapter can be merged into the weights of its base. `citations` are BibTeX entries for
    the cards of its results.
    """

    name: str
    help: str
    config: type[MethodT]
    kind: Literal["adapter", "model"] = "adapter"
    mergeable: bool = True
    citations: Sequence[str] = ()

    def keeps_base(self, section: MethodT) -> bool:
        """Whether the base's weights stay unchanged, so that the model with its adapter disabled is the base."""
        return True

    def load(self, resolved: ResolvedModel, dtype: Dtype, section: MethodT) -> Any:
        """The base model, on its device, in the dtype it is trained in.

        Raises:
            ModelError: it cannot be trained this way.
        """
        from camelid_core.models.loading import load_base

        refuse_quantised(resolved)
        return load_base(resolved, dtype)

    def load_as_trained(self, resolved: ResolvedModel, section: MethodT) -> Any:
        """The base to merge into: float32, with the values that training used (dequantised, where it was quantised)."""
        from camelid_core.models.loading import load_base

        return load_base(resolved, "float32")

    @abstractmethod
    def prepare(self, model: Any, section: MethodT, context: MethodContext) -> Any:
        """The model to train; frozen parameters have `requires_grad` off."""

    def save(self, model: Any, section: MethodT, context: MethodContext, directory: Path) -> None:
        """Write the result: a plain PEFT directory for an adapter, a plain Transformers directory for a model."""
        model.save_pretrained(directory)

    def penalty(self, model: Any) -> Any:
        """A regularisation term to add to the loss of each step, or None."""
        return None

    def after_step(self, model: Any, step: int) -> None:
        """Called after each optimizer step, before the gradients are cleared."""

    def state(self, model: Any) -> dict[str, Any]:
        """Tensors beside the trainable parameters that a checkpoint must store."""
        return {}

    def restore(self, model: Any, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""


def refuse_quantised(resolved: ResolvedModel) -> None:
    """Raise ModelError if the base is stored quantised: only methods for quantised bases can train on it."""
    quantised = (resolved.config.get("quantization_config") or {}).get("quant_method")
    if quantised:
        raise ModelError(
            f"{resolved.name!r} is stored quantised ({quantised}), and this method needs plain weights. "
            'Name the original model, or set method.type="lora-gptq" for a GPTQ base.'
        )
