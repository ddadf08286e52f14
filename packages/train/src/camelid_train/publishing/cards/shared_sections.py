"""Sections that every card has: what it is, its family, prompt, licences, test status, citations.

Each function gives the Markdown of one section. Knows Markdown and the manifest. Knows no format of weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from camelid_core.artefacts import TemplateContract
from camelid_core.plugins import Host
from camelid_core.records import Message
from camelid_core.templates.chat_template_export import render_chat_template

from camelid_train.saving.model_card import citation_lines

from .card_data import ROLES, CardData
from .proof_lines import OVERRIDDEN, proof_of, status
from .variants import NOT_AVAILABLE, published_variants, variant_matrix

_MEMBERS = {
    "adapter": "PEFT adapter, to be loaded with its base",
    "merged": "Merged model, unquantised, for GPU inference and for further conversions",
    "GPTQ": "GPTQ models for GPU inference, with multiple quantisation parameter options",
    "GGUF": "GGUF models for CPU and GPU inference",
}
PLACEHOLDER = "{prompt}"


def prompt_text(contract: TemplateContract | None) -> str:
    """What a model is given for one user message, `{prompt}` in its place, by the chat template itself. Control tokens
    before the text are a tokenizer's to write, and are left out."""
    if contract is None:
        return ""
    return render_chat_template(contract.jinja, [Message("user", PLACEHOLDER)], "", generation_prompt=True, bos="").text


def title(data: CardData, kind: str) -> str:
    """The heading, with who made the model and what it was made from."""
    known = re.fullmatch(r"[A-Za-z0-9][\w.-]*", data.creator)
    creator = f"[{data.creator}]({data.web(data.creator, '')})" if known else data.creator
    lines = [f"# {data.title} {kind}", f"- Model creator: {creator}" if creator else ""]
    lines.append(f"- Original model: {data.original_link}")
    return "\n".join([*filter(None, lines), ""])


def repositories(data: CardData) -> str:
    """The other artefacts of the same run, with `N/A` for those that are not published."""
    members = {member.role: member.repository for member in data.family}
    lines = [
        f"* [{what}]({data.web(members[role], '')})" if role in members else f"* {what}: {NOT_AVAILABLE}"
        for role, what in _MEMBERS.items()
    ]
    others = [f"* [{role}]({data.web(name, '')})" for role, name in members.items() if role not in ROLES]
    original = [f"* Original model: {data.original_link}"]
    return "\n".join(["## Repositories available", "", *lines, *others, *original])


def variants(data: CardData) -> str:
    return f"## All variants\n\n{variant_matrix({data.title: published_variants(data)})}"


def prompt_template(data: CardData) -> str:
    contract = data.manifest.template
    name = contract.name if contract else "unknown"
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", data.prompt)), 3)
    ends = " It ends with a space." if data.prompt.endswith(" ") else ""
    return (
        f"## Prompt template: {name}\n\n{fence}\n{data.prompt}\n{fence}\n\n`chat_template.jinja` writes exactly this, "
        f"and `prompt_template` at the head of this card holds it byte for byte.{ends}"
    )


def licensing(data: CardData) -> str:
    statement = "\n".join(line if line.startswith("- ") else f"\n{line}" for line in data.licence.lines)
    return f"## Licensing\n\n{statement}"


def test_status(data: CardData) -> str:
    """Of every branch whether it was proved; what was not is said to be not."""
    lines = [
        f"- `{branch}`: {status(proof_of(manifest), str(manifest.parameters.get(OVERRIDDEN) or ''))}"
        for branch, manifest in data.branches.items()
    ]
    about = "Whether it answers as the model it was made from, on held-out text that was not used for calibration:"
    more = "\n`proof.json` holds every number, with its interval." if any(map(proof_of, data.branches.values())) else ""
    return "\n".join(["## Test status", "", about, "", *lines, *filter(None, [more])])


def citations(data: CardData) -> str:
    lines = list(citation_lines(data.manifest, data.host))
    return "\n".join(["## Citations", "", *(lines or ["Nothing that it was made from asks to be cited."])])


def original_card(data: CardData) -> str:
    return f"# Original model card: {data.base}\n\n{data.original_card.strip()}" if data.original_card.strip() else ""


def languages(data: CardData) -> list[str]:
    """Of the datasets that are known by name, as the Hub writes them."""
    host: Host = data.host
    found = (host.datasets[use.id].languages for use in data.manifest.datasets if use.id in host.datasets)
    return list(dict.fromkeys(language for each in found for language in each if re.fullmatch(r"[a-z]{2,3}", language)))


def dataset_ids(data: CardData) -> list[str]:
    """The Hub's ids of the datasets, as far as they have one."""
    names = (use.id.removeprefix("hf:").partition("@")[0] for use in data.manifest.datasets)
    return [name for name in dict.fromkeys(names) if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name)]


def rope_hint(data: CardData) -> Iterator[str]:
    """What older loaders must be told of a stretched context, which newer ones read from `config.json`."""
    scaling = data.manifest.rope_scaling or {}
    factor = float(scaling.get("factor") or 1)
    if scaling.get("rope_type") == "linear" and factor > 1:
        longest = f"max_seq_len {data.context_length}" if data.context_length else "max_seq_len to the stretched length"
        yield (
            f"The context was stretched by position interpolation (factor {factor:g}). Loaders that ignore "
            f"`rope_scaling` need to be told: set {longest} and compress_pos_emb {factor:g}."
        )
