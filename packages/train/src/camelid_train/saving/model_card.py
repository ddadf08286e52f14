"""README.md of a published adapter or model: a short card made from its manifest alone.

Front matter as of huggingface.co/docs/hub/model-cards. Knows the manifest and the citations of datasets and tuning
methods, and which of its values are paths of this machine, which no card shows. Knows no weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from camelid_core.artefacts import DatasetUse, Licences, Manifest
from camelid_core.licences import in_words
from camelid_core.plugins import Host
from camelid_core.statistics import shown_values

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_ADAPTER_CONFIG = "adapter_config.json"


def hub_id_of(manifest: Manifest) -> str:
    """The Hub id of the base model, empty where it is known by a name or a path of this machine only."""
    name = manifest.base.id if manifest.base else ""
    return name if _HUB_ID.fullmatch(name) and not name.startswith(".") and not Path(name).exists() else ""


def write_card(directory: Path, manifest: Manifest, host: Host) -> None:
    """Write README.md in place of PEFT's blank form; an adapter's configuration names its base by its Hub id.

    `host` has the datasets and tuning methods known by name, which know how to be cited.
    """
    path = directory / _ADAPTER_CONFIG
    if (hub_id := hub_id_of(manifest)) and path.is_file():
        values = json.loads(path.read_text(encoding="utf-8")) | {"base_model_name_or_path": hub_id}
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    (directory / "README.md").write_text("\n".join(_lines(manifest, host)) + "\n", encoding="utf-8")


def _lines(manifest: Manifest, host: Host) -> Iterator[str]:
    base = _base(manifest)
    adapter = manifest.kind == "adapter"
    yield from ("---", f"library_name: {'peft' if adapter else 'transformers'}", "pipeline_tag: text-generation")
    if hub_id := hub_id_of(manifest):
        yield f"base_model: {hub_id}"
        yield f"base_model_relation: {'adapter' if adapter else 'finetune'}"
    yield from licence_fields(manifest.licences)
    yield from ("tags:", "- camelid", "---", "", f"# {'Adapter for' if adapter else 'Fine-tuned from'} {base}", "")
    yield "Made by Camelid; `camelid.json` beside this file holds every detail."
    yield from ("", f"- Base model: {base} (licence: {manifest.licences.base})")
    yield f"- Licence of the result: {in_words(manifest.licences.effective)}"
    if terms := manifest.licences.generator:
        yield f"- Answers in the training data were written by services with terms of their own: {', '.join(terms)}"
    if manifest.template is not None:
        yield f"- Prompt template: {manifest.template.name} (`chat_template.jinja`)"
    for heading, values in (
        ("Training data", map(dataset_line, manifest.datasets)),
        ("Settings", setting_lines(manifest)),
    ):
        if rows := [f"- {row}" for row in values]:
            yield from ("", f"## {heading}", "", *rows)
    if measured := [
        f"- {value_line(name, value)}" for name, value in shown_values(manifest.metrics) if value is not None
    ]:
        yield from ("", "## Metrics", "", *measured)
    yield from ("", "## How to load", "", "```python", *loading_lines(manifest), "```")
    if cited := list(citation_lines(manifest, host)):
        yield from ("", "## Citations", "", *cited)


def citation_lines(manifest: Manifest, host: Host) -> Iterator[str]:
    """How datasets and tuning method want to be cited, each once, as Markdown."""
    for text in dict.fromkeys(filter(None, _citations(manifest, host))):
        yield from ("```", text.strip(), "```")


def _citations(manifest: Manifest, host: Host) -> Iterator[str]:
    for use in manifest.datasets:
        if use.id in host.datasets:
            yield from host.datasets[use.id].citation.split("\n\n")
    methods = host.registry("camelid_tuning_methods")
    method = str((manifest.parameters.get("method") or {}).get("type"))
    if method in methods:
        yield from methods[method].citations


def _base(manifest: Manifest) -> str:
    return _shown(manifest.base.id) if manifest.base else "an unknown base model"


def licence_fields(licences: Licences) -> Iterator[str]:
    """The Hub takes one identifier of its own list; anything else is `other`, with a name."""
    one = re.fullmatch(r"[a-z0-9.+-]+", licences.effective)
    yield f"license: {licences.effective if one else 'other'}"
    if not one:
        yield f"license_name: {json.dumps(licences.effective, ensure_ascii=False)}"


def dataset_line(use: DatasetUse) -> str:
    """A dataset in a list."""
    return f"{_shown(use.id)}: {use.rows:,} rows, licence {use.licence}"


def setting_lines(manifest: Manifest) -> Iterator[str]:
    """How it was trained, a setting a line."""
    for section in ("method", "train"):
        for name, value in (manifest.parameters.get(section) or {}).items():
            if value not in (None, "", [], {}) and name != "output":
                yield value_line(f"{section}.{name}", value)
    merged = manifest.parameters.get("merge") or {}
    if merged.get("others"):
        names = ", ".join(map(_shown, [merged["adapter"], *merged["others"]]))
        yield f"adapters merged together: {names}; combined by {merged['combine']}"


def value_line(name: str, value: Any) -> str:
    """A value with its name; of a path of this machine only the last part."""
    return f"{name}: {f'{value:.6g}' if isinstance(value, float) else _shown(str(value))}"


def _shown(text: str) -> str:
    """`text`, of a path of this machine only the last part."""
    local = PurePath(text).is_absolute() or text.startswith(("~", "."))
    return PurePath(text).name if local else text


def loading_lines(manifest: Manifest, where: str = "path/to/this/directory") -> Iterator[str]:
    """Python that loads the result from `where` and asks it."""
    base = hub_id_of(manifest) or "path/to/the/base"
    adapter = manifest.kind == "adapter"
    if adapter:
        yield "from peft import PeftModel"
    yield from ("from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig", "")
    name = "adapter" if adapter else "model_path"
    yield f'{name} = "{where}"'
    yield f"tokenizer = AutoTokenizer.from_pretrained({name}, trust_remote_code=False)"
    if adapter:
        yield f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), adapter)'
    else:
        yield f"model = AutoModelForCausalLM.from_pretrained({name})"
    yield f"settings = GenerationConfig.from_pretrained({name})  # its tokens end an answer"
    yield 'messages = [{"role": "user", "content": "Hello"}]'
    yield "prompt = tokenizer.apply_chat_template("
    yield '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True'
    yield ")"
    yield "answer = model.generate(**prompt, generation_config=settings)"
