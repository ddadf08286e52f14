"""What holds for whoever uses a published model, in words: the licences of base and data, and the terms of services.

Computed from the manifest; never more permissive than the strictest of them. Knows licences and a few families of
models whose makers ask for more. Knows no card, and gives no legal advice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from camelid_core.artefacts import Licences, Manifest
from camelid_core.licences import UNKNOWN, in_words

_AND = " AND "


@dataclass(frozen=True, slots=True)
class LicenceStatement:
    """`lines` are for card and screen; `warnings` are for whoever publishes; `needs_files` says that the licence asks
    for a copy of itself beside the weights."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    needs_files: bool


def licence_statement(manifest: Manifest, base: str, files: tuple[str, ...] = ()) -> LicenceStatement:
    """Of an artefact made from `base`. `files` are the licence texts that leave with it."""
    licences = manifest.licences
    meta = _is_meta(licences.base)
    lines = [
        f"- Base model {base}: {in_words(licences.base)}",
        f"- Training data: {', '.join(in_words(each) for each in licences.data) or 'none that is recorded'}",
        *(
            [f"- Terms of the services that wrote answers: {', '.join(licences.generator)}"]
            if licences.generator
            else []
        ),
        f"- Effective licence, all of these at once: {in_words(licences.effective)}",
        *_families(licences, base, files),
    ]
    if manifest.kind == "adapter":
        lines.append("The licence is that of the adapter with its base: neither is of use without the other.")
    return LicenceStatement(tuple(lines), tuple(_warnings(licences, meta, files)), meta)


def _families(licences: Licences, base: str, files: tuple[str, ...]) -> Iterator[str]:
    if _is_meta(licences.base):
        with_them = (
            f"Meta's files are included ({', '.join(files)})" if files else "Meta's licence files must be kept with it"
        )
        yield f"The base model is Meta's, and its licence holds for whatever is made of it; {with_them}."
    if _AND in licences.effective:
        yield (
            "Several licences are claimed for this model at once. Hugging Face has no position on such dual licensing; "
            f"questions about it go to the makers of the original model, {base}."
        )
    if _first_llama(licences.base):
        yield "The weights of the first LLaMA are for research alone: no commercial use, whatever else is named here."
    if licences.generator:
        yield (
            "Services wrote answers in the training data. Their terms may forbid to develop competing models with "
            "them, and what that means for this model is for its user to decide."
        )
    if licences.non_commercial is True:
        yield "Commercial use is excluded."
    elif licences.non_commercial == UNKNOWN:
        yield "Whether commercial use is allowed is not known: a licence above is in no table. Ask its makers."


def _warnings(licences: Licences, meta: bool, files: tuple[str, ...]) -> Iterator[str]:
    if UNKNOWN in licences.effective.split(_AND):
        yield "A licence of the base or of the data is unknown: find out whether you may publish what was made of it."
    if meta and not files:
        yield (
            "Meta's licence asks that a copy of it goes with the weights, and none is beside the model or its base. "
            "Put LICENSE.txt, Notice and USE_POLICY.md into the base model's directory, and publish again."
        )


def _is_meta(licence: str) -> bool:
    return any(part.startswith(("llama2", "llama3", "llama4")) for part in licence.split(_AND))


def _first_llama(licence: str) -> bool:
    return any(part in ("llama", "llama1") for part in licence.split(_AND))
