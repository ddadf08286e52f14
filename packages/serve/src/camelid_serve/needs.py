"""What jobs that generate answers need while they run.

Knows the size of a model's weights. Imports no torch.
"""

from __future__ import annotations

from typing import Any

from camelid_core.jobs.resources import Needs
from camelid_core.jobs.store import JobStore
from camelid_core.models.devices import cpu_has_bf16
from camelid_core.models.model_size import parameters
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host

_EMBEDDED = "transformers"
_BESIDE = 2_000_000_000
"""Main memory for libraries, KV caches and what is on its way to a card."""


def generation(config: Any, store: JobStore) -> Needs | None:
    """A whole card where there is one, for the engine fills what is free with KV caches; else the processor, with room
    for the largest of the models, which answer one after the other. Not known of other engines than the embedded one.
    """
    if getattr(config, "engine", _EMBEDDED) != _EMBEDDED:
        return None
    host = load_host()
    names = config.models if hasattr(config, "models") else [config.model]
    count = max(parameters(resolve_model(name, host).base) for name in names)
    width = 2 if config.dtype in ("bfloat16", "float16") or cpu_has_bf16() else 4
    processor = Needs(memory=count * width + _BESIDE, least=count * width if count else 0, source="estimated")
    return Needs(gpus=1, cores=1, memory=_BESIDE, source="estimated", without_gpus=processor)
