"""`LearningObjective`: what is learnt from and how the loss is made of it; `Objective`, the section that chooses one.

Knows the contract between an objective and the training task. Imports no torch.
The tuning method says what learns, the objective what it learns from; everything else of a run (model, template,
checkpoints, events, artefact) is the same for all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from camelid_train.sections import Objective

if TYPE_CHECKING:
    from camelid_core.plugins import Host
    from camelid_core.token_cache.cache import EncodingProgress
    from camelid_core.tokenization.encoder import Encoder
    from transformers import TrainingArguments

    from camelid_train.config import DataSection, Recipe
    from camelid_train.data import PreparedData
    from camelid_train.methods import TuningMethod


ObjectiveT = TypeVar("ObjectiveT", bound=Objective)


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What a trainer is made of: the recipe, the model as the tuning method prepared it, and the rows.

    `arguments()` makes the TrainingArguments that the recipe comes to, or a `kind` of them with more fields; whoever
    measures for long calls `raise_if_interrupted()` now and then, which raises Interrupted if the run was asked to leave."""

    recipe: Recipe
    method: TuningMethod[Any]
    model: Any
    data: PreparedData
    encoder: Encoder
    arguments: Callable[..., TrainingArguments]
    raise_if_interrupted: Callable[[], None] = lambda: None

    @property
    def tokenizer(self) -> Any:
        return self.encoder.tokenizer

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)


class LearningObjective(ABC, Generic[ObjectiveT]):
    """One thing to learn from. `trainer` and `heldout_loss` are all that must be written where `prepare` fits the data.

    `extra_metrics` names what the trainer logs beside the loss and should be told: its key there → ours in `train` events.
    """

    name: str
    help: str
    config: type[ObjectiveT]
    extra_metrics: Mapping[str, str] = {}

    def check(self, section: ObjectiveT, recipe: Recipe) -> None:
        """Refuse what does not go together, before anything is loaded.

        Raises:
            ConfigError: naming the two fields.
        """

    def prepare(
        self,
        section: ObjectiveT,
        data: DataSection,
        encoder: Encoder,
        host: Host,
        progress: EncodingProgress | None = None,
    ) -> PreparedData:
        """The rows, tokenised. Each is an `Example`: as if the better answer were learnt by heart.

        Raises:
            DataError: no row that this objective can learn from.
        """
        from camelid_train.data import prepare

        return prepare(data, encoder, host, progress)

    def one_epoch(self, section: ObjectiveT, rows: int, batch: int) -> tuple[int, int]:
        """The optimizer steps of one pass over so many rows, and how many it takes in batches of so many."""
        return math.ceil(rows / batch), rows

    @abstractmethod
    def trainer(self, section: ObjectiveT, run: TrainingRun) -> Any:
        """A transformers Trainer that keeps a `totals` and writes our checkpoints (see `camelid_train.loop.trainer`)."""

    @abstractmethod
    def heldout_loss(self, section: ObjectiveT, run: TrainingRun, trainer: Any) -> float:
        """The loss on the held-out rows; less is better."""
