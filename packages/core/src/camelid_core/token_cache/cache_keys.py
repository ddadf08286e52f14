"""Cache keys: digests of everything that a shard's bytes depend on.

Knows records, templates and tokenizers. Knows no files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from camelid_core.errors import CamelidError
from camelid_core.records import Message, Record
from camelid_core.templates.template import PromptTemplate
from camelid_core.tokenization.encoder import TOKENIZATION_VERSION, Encoder

_ASK, _ANSWER = Message("user", " Two\nand two? "), Message("assistant", " Four. \n")
_PROBES: tuple[tuple[Message, ...], ...] = (
    (_ASK, _ANSWER),
    (Message("user", "Add.", "4 and 5"), _ANSWER),
    (Message("system", " Be brief.\n"), _ASK, _ANSWER),
    (_ASK, _ANSWER, Message("user", "And 三?", "3"), _ANSWER, _ASK, _ANSWER),
    (Message("system", "Be brief."), Message("user", "Add.", "4 and 5"), _ANSWER, _ASK, _ANSWER),
    (Message("user", ""), Message("assistant", "")),
)


def encoder_key(encoder: Encoder) -> str:
    """The same for two encoders that give the same tokens: template, tokenizer, and this package's encoder."""
    import tokenizers

    backend = json.loads(encoder.tokenizer.backend_tokenizer.to_str())
    backend["truncation"] = backend["padding"] = None  # encoders heed neither
    parts = [
        TOKENIZATION_VERSION,
        tokenizers.__version__,
        _template(encoder.template),
        backend,
        sorted(encoder.special.items()),
        encoder.tokenizer.eos_token,
        encoder.tokenizer.bos_token,
        encoder.tokenizer.bos_token,
        encoder.prefix,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def chunk_key(records: Iterable[Record]) -> str:
    """Digest of the contents of `records`: every message, its role and its context, in order."""
    digest = hashlib.sha256()
    for record in records:
        for message in record.messages:
            # lengths before texts, so that no two conversations spell the same bytes
            content, context = _bytes(message.content), _bytes(message.context)
            digest.update(b"%b %d %d\n%b%b" % (message.role.encode(), len(content), len(context), content, context))
            if not message.trained:
                digest.update(b"-\n")
        digest.update(b".\n")
    return digest.hexdigest()[:40]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _template(template: PromptTemplate) -> list[Any]:
    """The template's Jinja determines bytes and loss mask; rendered probes also show which bytes a person wrote."""
    return [_or_error(template.jinja), *(_or_error(partial(_segments, template, probe)) for probe in _PROBES)]


def _segments(template: PromptTemplate, probe: tuple[Message, ...]) -> list[Any]:
    return [(segment.text, segment.trained, segment.control) for segment in template.render(probe)]


def _or_error(make: Callable[[], Any]) -> Any:
    """What a template refuses is part of its identity."""
    try:
        return make()
    except CamelidError as error:
        return str(error)
