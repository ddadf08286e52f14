"""What all routes of one server share.

Knows the engine, the slots, the limits and the counters. Knows no routes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from camelid_core.errors import did_you_mean

from .errors import ApiError, printable
from .limits import Limits
from .metrics import Metrics
from .slots import Slots
from .supervisor import EngineSupervisor


@dataclass
class ServerState:
    """The state of one server. `created` is when it started."""

    supervisor: EngineSupervisor
    limits: Limits
    slots: Slots
    metrics: Metrics = field(default_factory=Metrics)
    created: int = field(default_factory=lambda: int(time.time()))
    draining: ApiError | None = None

    def model(self, name: str | None, param: str = "model") -> str:
        """The label of the model that `name`, the request's field `param`, selects.

        Raises:
            ApiError: there is no such model (404), or none yet (503).
        """
        if self.draining is not None:
            raise self.draining
        if not self.supervisor.alive:
            raise ApiError(503, self.supervisor.why or "the engine is being started again.", "not_ready", retry_after=5)
        known = self.supervisor.models
        if name is None:
            return next(iter(known))
        if name not in known:
            message = (
                f"model {printable(name)!r} is not served here.{did_you_mean(printable(name), known)} See /v1/models."
            )
            raise ApiError(404, message, "model_not_found", param)
        return name

    def count(self, done: Mapping[str, Any]) -> None:
        """Count the tokens of a completed request, whether or not its client is still connected."""
        self.metrics.prompt_tokens.add(sum(prompt["tokens"] for prompt in done["prompts"]))
        for facts in (row["facts"] for row in done["rows"] if row):
            self.metrics.tokens.add(facts["tokens"])
            self.metrics.first.observe(facts["first_token"])

    def drain(self) -> None:
        """Take no more requests; running ones may end."""
        self.draining = ApiError(503, "this server is being stopped.", "shutting_down", retry_after=30)
        self.slots.close(self.draining)

    def abort(self) -> None:
        """End the requests that still run, with an error to their clients."""
        gone = {"event": "error", "type": "ShuttingDown", "message": "this server is being stopped."}
        for call in tuple(self.supervisor.calls):
            call.cancel()
            call.take(gone)
