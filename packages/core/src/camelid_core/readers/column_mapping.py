"""`Columns`, the column mapping: which column of a file holds what, for files whose column names no reader knows.

Knows names of columns and how they are written on a command line. Knows nothing of rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from camelid_core.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True)
class Columns:
    """Field of a record → column of the file. `instruction` and `output`, or `messages`, or `text` must be given."""

    instruction: str = ""
    input: str = ""
    output: str = ""
    system: str = ""
    history: str = ""
    messages: str = ""
    text: str = ""
    id: str = ""
    source: str = ""
    tags: str = ""

    @classmethod
    def parse(cls, text: str, needs_output: bool = True) -> Columns:
        """From `instruction=question,output=answer`; a comma may be part of a column's name. Rows to predict
        need no output: without `needs_output`, `instruction=question` is enough.

        Raises:
            UsageError: an unknown word, one given twice, or too little to make a record from.
        """
        given: dict[str, str] = {}
        for part in _SEPARATOR.split(text):
            ours, equals, theirs = part.partition("=")
            ours = ours.strip()
            if not equals or not theirs or ours not in COLUMN_FIELDS:
                suggestion = did_you_mean(ours, COLUMN_FIELDS)
                raise UsageError(
                    f"mapping {text!r}: {part!r} does not fit.{suggestion} Write OURS=COLUMN, separated by commas, "
                    f"with OURS one of {', '.join(COLUMN_FIELDS)}; for example instruction=question,output=answer."
                )
            if ours in given:
                raise UsageError(f"mapping {text!r}: {ours!r} is given twice.")
            given[ours] = theirs
        columns = cls(**given)
        if not needs_output and columns.instruction:
            return columns
        if not columns.is_complete:
            raise UsageError(f"mapping {text!r}: it must name 'instruction' and 'output', or 'messages', or 'text'.")
        return columns

    @property
    def is_complete(self) -> bool:
        """Whether a record can be made."""
        return bool(self.messages or self.text or (self.instruction and self.output))

    @property
    def turns(self) -> list[str]:
        """The fields given that turns are made of."""
        return [name for name in self.used() if name not in ("text", "id", "source", "tags")]

    def used(self) -> dict[str, str]:
        """Only what is given."""
        return {name: getattr(self, name) for name in COLUMN_FIELDS if getattr(self, name)}

    def __str__(self) -> str:
        return ",".join(f"{ours}={theirs}" for ours, theirs in self.used().items())


COLUMN_FIELDS = tuple(field.name for field in fields(Columns))
_SEPARATOR = re.compile(rf",(?=\s*(?:{'|'.join(COLUMN_FIELDS)})=)")
