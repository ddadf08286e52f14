"""The plan of a recipe before anything is trained: rows, tokens and optimizer steps, counted rather than estimated.

Knows data and how an epoch is divided into steps. Loads no weights; the tokenised rows stay in the token cache.
"""

from __future__ import annotations

import math
from typing import Any

from camelid_core.artefacts import Licences
from camelid_core.licences import in_words
from camelid_core.plugins import load_host

from camelid_train.config import Recipe
from camelid_train.loop.batches import lengths_of
from camelid_train.objectives.steps import steps_of
from camelid_train.run_preparation import prepare_run


def plan(recipe: Recipe) -> dict[str, Any]:
    """Rows, tokens and optimizer steps of the whole run.

    Raises:
        CamelidError: anything that would end the run before its first step, except memory, disk space and the launch.
    """
    ready = prepare_run(recipe, load_host())
    data = ready.data
    account, train, processes = data.account, recipe.train, recipe.launch.processes * recipe.launch.nodes
    steps, epochs, uses = steps_of(recipe, len(data.train), processes)
    licences = Licences.of(ready.resolved.licence, data.datasets, ready.resolved.generator)
    return {
        "model": recipe.model.name,
        "template": ready.template.name,
        "method": recipe.method.type,
        "rows": account.rows,
        "kept": account.kept,
        "cut off": account.truncated,
        "left out": account.dropped + account.refused,
        "held out": len(data.heldout),
        "longest row": max(lengths_of(data.train)),
        "global batch": train.batch_size * train.accumulation * processes,
        "steps": steps,
        "passes": round(epochs, 3),
        "tokens": round(account.total_tokens * uses),
        "trained tokens": round(account.trained_tokens * uses),
        "checkpoints": max(0, math.ceil(steps / train.save_steps) - 1),
        "licence": in_words(licences.effective),
        "generator terms": ", ".join(licences.generator),
        "notes": data.notes,
    }
