"""Sections of a card for GGUF files: the table of provided files, and how to get and run one.

Knows the names of GGUF files. Knows no other format.
"""

from __future__ import annotations

from camelid_core.artefacts import Manifest

from .card_data import CardData
from .proof_lines import OVERRIDDEN, proof_of, status
from .variants import gguf_names, gguf_type

FILES = "gguf_files"
"""Key of the manifest's parameters: file → its proof, where several artefacts are in one branch."""


def provided_files(data: CardData) -> str:
    manifest = data.manifest
    rows = [
        f"| [{name}]({_address(data, name)}) | {gguf_type(name)} | {_size(manifest, name)} "
        f"| {_status(manifest, name)} |"
        for name in gguf_names(manifest)
    ]
    head = ["| Name | Quant method | Size | Test status |", "| ---- | ---- | ---- | ---- |"]
    return "\n".join(["## Provided files", "", *head, *rows])


def download(data: CardData) -> str:
    name, first = data.repository, _first(data)
    return f"""## How to download one file

```
hf download {name} {first} --local-dir .
```

With Camelid: `camelid chat {first}` once it is here."""


def run(data: CardData) -> str:
    length = f" -c {data.context_length}" if data.context_length else ""
    return f"""## How to run

```
llama-cli -m {_first(data)}{length} -cnv
```

The file brings tokenizer, chat template and RoPE scaling; nothing of them need be set."""


def _first(data: CardData) -> str:
    names = gguf_names(data.manifest)
    return names[0] if names else "model.gguf"


def _address(data: CardData, name: str) -> str:
    return data.branch_address().replace("/tree/", "/blob/", 1) + f"/{name}"


def _size(manifest: Manifest, name: str) -> str:
    stem = name.partition("-00001-of-")[0]
    size = sum(entry.size for each, entry in manifest.files.items() if each == name or each.startswith(f"{stem}-0"))
    return f"{size / 1e9:.2f} GB"


def _status(manifest: Manifest, name: str) -> str:
    made = (manifest.parameters.get(FILES) or {}).get(name) or {}
    proof = made.get("proof") or (proof_of(manifest) if not manifest.parameters.get(FILES) else {})
    return status(proof, str(made.get(OVERRIDDEN) or manifest.parameters.get(OVERRIDDEN) or "")).replace("|", "\\|")
