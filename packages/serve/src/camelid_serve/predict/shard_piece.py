"""One shard of a prediction, as a machine of a cluster runs it.

Knows the order that `shards` wrote. Knows nothing of other shards but where their answers are recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.tasks import TaskContext

from camelid_serve.config import PredictConfig
from camelid_serve.metrics import available

from .batch_answers import TaskProgress
from .inputs import input_of
from .prediction_rows import model_labels, model_names
from .sequential_models import SequentialModels
from .task import answer_rows


def run(values: Mapping[str, Any], context: TaskContext) -> dict[str, Any]:
    """Answer rows `first` to `last` with every model. Raises as the task does."""
    config = PredictConfig.model_validate(values["config"])
    host = load_host()
    models = {label: resolve_model(name, host) for label, name in model_labels(model_names(config)).items()}
    source = input_of(config).between(values["first"], values["last"])
    earlier = [Path(path) for path in values["earlier"] if Path(path) != context.directory]
    progress = TaskProgress(context, values["rows"])
    with SequentialModels(models, config, host, lambda text: context.emit("log", text=text)) as loader:
        identities = values["identities"]
        _, failures = answer_rows(config, loader, source, identities, available(), context, progress, earlier)
    return {"failures": failures}
