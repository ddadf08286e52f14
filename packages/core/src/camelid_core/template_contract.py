"""The template contract that an artefact stores, and checking that it still holds.

Knows a fixed conversation whose prompt token ids show any change of template or tokenizer.
"""

from __future__ import annotations

import hashlib
from typing import Any

from .artefacts import TemplateContract
from .errors import ArtefactError
from .exported_template import export_for
from .records import Message
from .templates.template import PromptTemplate
from .tokenization.encoder import Encoder

REFERENCE_CONVERSATION = (
    Message("user", "Two and two?\nHow many?"),
    Message("assistant", "2 + 2 = 4."),
    Message("user", "And 三 more?"),
)


def make_contract(template: PromptTemplate, tokenizer: Any, overrides: str = "") -> TemplateContract:
    """The contract to store. `overrides` names the template that a person replaced by this one, if any."""
    encoder = Encoder(tokenizer, template)
    source = export_for(encoder)
    return TemplateContract(
        name=template.name,
        jinja=source,
        sha256=hashlib.sha256(source.encode()).hexdigest(),
        reference_ids=encoder.prompt_ids(REFERENCE_CONVERSATION),
        overrides=overrides,
    )


def check_contract(contract: TemplateContract, template: PromptTemplate, tokenizer: Any) -> None:
    """Raise ArtefactError if `template` with `tokenizer` no longer gives the token ids the artefact was trained on."""
    if not contract.reference_ids:
        return
    ids = Encoder(tokenizer, template).prompt_ids(REFERENCE_CONVERSATION)
    if ids != contract.reference_ids:
        at = next(
            (i for i, pair in enumerate(zip(ids, contract.reference_ids, strict=False)) if pair[0] != pair[1]), len(ids)
        )
        raise ArtefactError(
            f"template {template.name!r} gives other tokens than this model was trained with (from token {at} on): "
            "the template or the tokenizer has changed. Use the versions its camelid.json names."
        )
