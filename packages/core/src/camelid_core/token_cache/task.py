"""The task `measure`: every row of a dataset counted under a model's tokenizer and a template.

Knows how to find them by name and how to report progress. What it tokenises stays in the token cache,
so a training run on the same rows, or the same job after a kill, starts from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from camelid_core.config import Config
from camelid_core.jobs.resources import Needs
from camelid_core.jobs.store import JobStore
from camelid_core.paths import absolute_if_path
from camelid_core.references import DataName, ModelName
from camelid_core.tasks import Interrupted, TaskContext

_PROGRESS_SECONDS = 0.5


class MeasureConfig(Config):
    """Which dataset to count, and under which model, template and cut-off."""

    data: DataName
    """Dataset name or file."""
    model: ModelName = "smollm2-135m"
    """Model whose tokenizer is used: a registered name, a Hub id or a directory."""
    template: str = ""
    """Prompt template; empty takes the model's own."""
    cutoff: int = Field(512, ge=16, le=131072)
    """Cut-off: longest example in tokens; longer ones are cut off."""
    limit: int | None = Field(None, ge=1)
    """Count at most this many rows."""

    def with_absolute_paths(self) -> MeasureConfig:
        """With relative paths made absolute: a job runs in another directory than the one it is typed in."""
        return self.model_copy(update={"data": absolute_if_path(self.data), "model": absolute_if_path(self.model)})


def needs(config: MeasureConfig, store: JobStore) -> Needs:
    """All cores: tokenisers use as many threads."""
    return Needs()


def run(config: MeasureConfig, context: TaskContext) -> Mapping[str, Any]:
    """Emits `progress` in rows; the summary is what `count_tokens` returns, with the names.

    Raises:
        Interrupted: it was requested to save and exit.
        CamelidError: a name is not known, or rows cannot be read.
    """
    from camelid_core.datasets.sources import open_dataset
    from camelid_core.models.loading import load_tokenizer
    from camelid_core.models.resolved_model import resolve_model
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import Encoder

    from .token_counts import count_tokens

    host = load_host()
    dataset = open_dataset(config.data, host.datasets)
    resolved = resolve_model(config.model, host)
    encoder = Encoder(load_tokenizer(resolved), template_of(resolved, host, config.template))
    emitted = 0.0

    def progress(done: int, total: int | None) -> None:
        nonlocal emitted
        if context.stop_requested():
            raise Interrupted
        if time.monotonic() - emitted > _PROGRESS_SECONDS or done == total:
            emitted = time.monotonic()
            context.emit("progress", done=done, total=total, unit="rows")

    counts = count_tokens(dataset, encoder, limit=config.limit, cutoff=config.cutoff, progress=progress)
    return {"data": config.data, "model": config.model, "template": encoder.template.name, **counts}
