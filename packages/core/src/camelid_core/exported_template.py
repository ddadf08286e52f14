"""The chat template that an artefact brings: what plain `apply_chat_template` renders has the trained token ids.

A tokenizer may put tokens before every text (usually its beginning of sequence); `apply_chat_template` asks it not to,
because chat templates write them. So they are written here, as this tokenizer needs it. Knows tokenizers and Jinja;
the templates' own text comes from `chat_template_export`.
"""

from __future__ import annotations

from collections.abc import Iterator

from .records import Message
from .templates.chat_template_export import literal, render_chat_template
from .templates.segments import BOS
from .tokenization.encoder import Encoder

_PROBES = ((Message("user", "Two and two?"),), (Message("user", "Sum up.", "Two and\ntwo."),))


def export_for(encoder: Encoder) -> str:
    """Jinja source of the encoder's template, with the tokens that its tokenizer puts first.

    Of the ways to write them, the first that gives the encoder's ids; a tokenizer that puts a space before text does so
    only at the very start or after every token, and after a written token that space may have to be written too.
    """
    source = encoder.template.jinja()
    candidates = [literal(start) + source for start in _possible_starts(encoder)]
    return next((candidate for candidate in candidates if _gives_same_ids(candidate, encoder)), candidates[0])


def _possible_starts(encoder: Encoder) -> Iterator[str]:
    tokenizer = encoder.tokenizer
    written = "".join(
        BOS if token == tokenizer.bos_token_id else str(tokenizer.convert_ids_to_tokens(token))
        for token in encoder.prefix
    )
    yield from dict.fromkeys((written, f"{written} " if written else "", ""))  # the last: the template wrote them


def _gives_same_ids(source: str, encoder: Encoder) -> bool:
    tokenizer = encoder.tokenizer
    for messages in _PROBES:
        eos, bos = tokenizer.eos_token or "", tokenizer.bos_token or ""
        text = render_chat_template(source, messages, eos, generation_prompt=True, bos=bos).text
        if tokenizer(text, add_special_tokens=False)["input_ids"] != encoder.prompt_ids(messages):
            return False
    return True
