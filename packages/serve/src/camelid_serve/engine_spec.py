"""An engine spec → an engine's kind and its options: `openai url=http://127.0.0.1:8000 flavour=vllm`.

The name comes first, `field=value` behind it, quoted as in a shell where a value has spaces. The one text goes through
configurations, job tables and pipes unchanged, and is stored with results; hence no option is a secret.
Knows registries of kinds. Loads no engine.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from camelid_core.config import Config, parse_overrides, validate
from camelid_core.errors import UsageError
from camelid_core.registry import Registry
from camelid_core.tasks import import_attribute

from .engine import Engine, EngineKind, Report


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """An engine kind, with its options if it has any."""

    kind: EngineKind
    options: Config | None = None

    @property
    def name(self) -> str:
        return self.kind.name

    def open(self, reference: object, dtype: str, slots: int, report: Report) -> Engine:
        """Load the model; `slots` is how many requests may run at once."""
        return self.kind.open(reference, dtype, slots, self.options, report)


def parse_engine_spec(kinds: Registry[EngineKind], text: str) -> ChosenEngine:
    """The engine that the spec `text` names.

    Raises:
        UnknownName: no engine of that name.
        UsageError: options that it does not have, or that are not valid.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"engine {text!r} cannot be read: {error}. Write NAME field=value …") from None
    kind = kinds[words[0] if words else ""]
    if not kind.options:
        if words[1:]:
            raise UsageError(f"engine {kind.name!r} takes no settings; leave out {shlex.join(words[1:])}.")
        return ChosenEngine(kind)
    where = f"engine {text!r} (settings stand behind the name: {kind.name} field=value …)"
    return ChosenEngine(kind, validate(import_attribute(kind.options), parse_overrides(words[1:]), where))


def format_engine_spec(name: str, settings: Iterable[str]) -> str:
    """The spec of a name and `field=value` pairs, quoted where needed."""
    given = list(settings)
    return f"{name} {shlex.join(given)}" if given else name
