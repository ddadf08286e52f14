"""A conversation as Markdown to read, and as records to train on, and records as conversations again.

Knows messages. Knows nothing of how a conversation is kept on a page or in a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.errors import CamelidError, UsageError
from camelid_core.readers import Faults, read
from camelid_core.records import Message, Record, check_roles
from camelid_core.writers import write

SOURCE = "chat"
"""`source` of records made from conversations."""
_BACKTICKS = re.compile(r"`+")


@dataclass(frozen=True, slots=True)
class Transcript:
    """The messages of one conversation, its `ident`, the model that answered, and further `metadata` such as sampling
    parameters."""

    messages: tuple[Message, ...]
    ident: str = ""
    model: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def markdown(transcripts: Sequence[Transcript]) -> str:
    """Every message is fenced by more backticks than it contains: none of it is markup, and nothing is lost."""
    return "\n".join(_markdown(transcript) for transcript in transcripts)


def record(transcript: Transcript) -> Record:
    """The conversation up to its last answer; user messages without an answer are left out.

    Raises:
        UsageError: there is no answer in it.
    """
    messages = _answered_turns(transcript.messages)
    if not messages:
        raise UsageError("there is no answer in this conversation yet, so nothing could be learnt from it.")
    tags = (transcript.model,) if transcript.model else ()
    return Record(tuple(messages), transcript.ident, SOURCE, tags)


def jsonl(transcripts: Iterable[Transcript], faults: Faults | None = None) -> str:
    """A file of records, one conversation each.

    Raises:
        UsageError: a conversation without an answer.
        DataError: a text that no tokenizer takes, unless `faults` counts such conversations.
    """
    with staging.scratch("camelid-transcripts") as directory:
        path = directory / "records.jsonl"
        write(map(record, transcripts), path, "messages", faults)
        return path.read_text(encoding="utf-8")


def parse(path: Path, limit: int) -> tuple[list[Transcript], int]:
    """The first `limit` conversations of a data file, and how many of the rows read are no conversation.

    Raises:
        DataError: the file cannot be read, or no row of it can.
    """
    faults = Faults(strict=False)
    found: list[Transcript] = []
    rejected = 0
    for each in islice(read(path, faults=faults), limit):
        try:
            check_roles(each.messages)
        except CamelidError:
            rejected += 1
            continue
        model = each.tags[0] if each.source == SOURCE and each.tags else ""
        ident = each.id if each.source == SOURCE else ""
        found.append(Transcript(each.messages, ident, model))
    return found, rejected + faults.total


def _answered_turns(messages: Sequence[Message]) -> list[Message]:
    """Without user messages that have no answer."""
    kept = [message for message in messages[:1] if message.role == "system" and message.content.strip()]
    for question, answer in pairwise(messages):
        if (question.role, answer.role) == ("user", "assistant") and answer.content.strip():
            kept += [question, answer]
    return kept if kept and kept[-1].role == "assistant" else []


def _markdown(transcript: Transcript) -> str:
    metadata = {"model": transcript.model, **transcript.metadata}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in metadata.items() if value != ""]
    parts = ["# Conversation", _fenced("\n".join(lines), "yaml")]
    for message in transcript.messages:
        parts += [f"## {message.role.capitalize()}", _fenced(message.text)]
    return "\n\n".join(parts) + "\n"


def _fenced(text: str, kind: str = "text") -> str:
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{kind}\n{text}\n{fence}"
