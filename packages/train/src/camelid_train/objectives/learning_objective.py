"""`LearningObjective`: the training data and the loss of a run; `Objective` is the recipe section that chooses one.

Knows the contract between an objective and the training task. Imports no torch.
The tuning method says which weights learn, the objective what the loss rewards; everything else of a run (model,
template, checkpoints, events, artefact) is the same for all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from camelid_core.models.adapters import UNKNOWN, ModelAdapter

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
    """What a trainer is constructed from: the recipe, the model as the tuning method prepared it, and the rows.

    `arguments()` makes the recipe's TrainingArguments, or a subclass `kind` of them with more fields. Long evaluations
    call `raise_if_interrupted()` now and then, which raises Interrupted if the run was told to save and end. `adapter`
    is the model's family. An objective whose held-out loss is a mean over tokens leaves in `row_losses` the sum and the
    number of tokens of each held-out row, in their order: runs are compared by them, pair by pair."""

    recipe: Recipe
    method: TuningMethod[Any]
    model: Any
    data: PreparedData
    encoder: Encoder
    arguments: Callable[..., TrainingArguments]
    raise_if_interrupted: Callable[[], None] = lambda: None
    adapter: ModelAdapter = UNKNOWN
    row_losses: list[tuple[float, int]] = field(default_factory=list)

    @property
    def tokenizer(self) -> Any:
        return self.encoder.tokenizer

    @property
    def pad_id(self) -> int:
        return int(self.tokenizer.pad_token_id)


class LearningObjective(ABC, Generic[ObjectiveT]):
    """One objective. Only `trainer` and `heldout_loss` must be written where `prepare` fits the data.

    `extra_metrics` are what the trainer logs beside the loss: its key there → its name in `train` events.
    """

    name: str
    help: str
    config: type[ObjectiveT]
    extra_metrics: Mapping[str, str] = {}

    def check(self, section: ObjectiveT, recipe: Recipe) -> None:
        """Refuse settings that do not go together, before anything is loaded.

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
        """The tokenised rows. Each is an `Example`, labelled as for SFT on the chosen answer.

        Raises:
            DataError: no row that this objective can learn from.
        """
        from camelid_train.data import prepare

        return prepare(data, encoder, host, progress)

    def one_epoch(self, section: ObjectiveT, rows: int, batch: int) -> tuple[int, int]:
        """Optimizer steps of one epoch over `rows` rows at a global batch of `batch`, and how many rows they use."""
        return math.ceil(rows / batch), rows

    @abstractmethod
    def trainer(self, section: ObjectiveT, run: TrainingRun) -> Any:
        """A transformers Trainer that has `totals` and writes Camelid's checkpoints (see
        `camelid_train.loop.trainer`)."""

    @abstractmethod
    def heldout_loss(self, section: ObjectiveT, run: TrainingRun, trainer: Any) -> float:
        """Loss on the held-out rows; lower is better."""
