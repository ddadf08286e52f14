"""References: which fields of a configuration name something that lies on a machine, and what kind of thing.

A field says so in its type: `name: ModelName = …`. Knows configurations as values. Knows nothing of where things are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from .config import Config

ReferenceKind = Literal["model", "data", "file", "here"]


@dataclass(frozen=True, slots=True)
class Reference:
    """`model` is a name, Hub id or directory of a model or adapter; `data` a dataset or file, with or without a weight;
    `file` a file. What is `here` means something on this machine alone: where it is set, the job runs nowhere else."""

    kind: ReferenceKind


ModelName = Annotated[str, Reference("model")]
ModelNames = Annotated[list[str], Reference("model")]
DataName = Annotated[str, Reference("data")]
DataNames = Annotated[list[str], Reference("data")]
FileName = Annotated[str, Reference("file")]
OfThisMachine = Reference("here")


def references(config: Config) -> Iterator[tuple[ReferenceKind, str]]:
    """Every reference in a configuration and its sections: the kind, and the text of it; of what is `here`, the field.

    Empty texts refer to nothing.
    """
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from references(value)
        for each in field.metadata:
            if isinstance(each, Reference):
                yield from _texts(each.kind, name, value, changed=value != field.default)


def _texts(kind: ReferenceKind, name: str, value: Any, changed: bool) -> Iterator[tuple[ReferenceKind, str]]:
    if kind == "here":
        yield from [(kind, name)] if changed else []
        return
    for text in [value] if isinstance(value, str) else value or ():
        if text:
            yield kind, text
