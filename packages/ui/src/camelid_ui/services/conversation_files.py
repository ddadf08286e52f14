"""Conversations as files: export to Markdown and JSON Lines, import from data files.

Knows transcripts. Stores nothing: the history itself is in the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from camelid_core.readers import Faults
from camelid_serve.chat.transcripts import Transcript, jsonl, markdown, parse

MAX_CONVERSATIONS = 200
"""Conversations that are imported from a file, and kept in a browser."""


class HistoryService:
    def markdown(self, transcripts: Sequence[Transcript]) -> str:
        """For people to read."""
        return markdown(transcripts)

    def records(self, transcripts: Sequence[Transcript]) -> tuple[str, int]:
        """As training data: JSON Lines, one conversation each; of several, those that cannot be trained on are counted.

        Raises:
            UsageError, DataError: a conversation without an answer, or the only one cannot be trained on.
        """
        faults = Faults(strict=len(transcripts) == 1)
        return jsonl(transcripts, faults), faults.total

    def read(self, path: str) -> tuple[list[Transcript], int]:
        """The conversations of a data file, and how many of its rows are none.

        Raises:
            DataError: the file cannot be read, or holds no row that can.
        """
        return parse(Path(path), MAX_CONVERSATIONS)
