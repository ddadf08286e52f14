"""Where evaluations come from that are too many to list: `--task SOURCE:REFERENCE`.

Knows how a source is described. Knows none of them: plugins give them by the hook `camelid_evaluation_sources`.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid_core.plugins import Host
from camelid_core.tasks import import_attribute

from .evaluation import Evaluation

HOOK = "camelid_evaluation_sources"


@dataclass(frozen=True, slots=True)
class EvaluationSource:
    """`find` is the `module:attribute` of `(reference, data, host) -> Evaluation`. `data` is the dataset or path that a
    person gave, empty where none was; an evaluation that needs one says so."""

    name: str
    help: str
    find: str


def from_source(name: str, data: str, host: Host) -> Evaluation | None:
    """The evaluation that `SOURCE:REFERENCE` names; None where `name` has no source.

    Raises:
        UnknownName: there is no such source, or nothing like that in it.
        CamelidError: it cannot be used.
    """
    source, colon, reference = name.partition(":")
    if not colon:
        return None
    found: Evaluation = import_attribute(host.registry(HOOK)[source].find)(reference, data, host)
    return found
