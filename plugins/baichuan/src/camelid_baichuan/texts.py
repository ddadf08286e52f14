"""What all Baichuan checkpoints share: the tokenizer, the prompt format, and the head of Baichuan 2.

A chat model's `generation_config.json` names the ids of the tokens before question and answer, 195 and 196. They are
called `<reserved_102>` and `<reserved_103>` in Baichuan's vocabulary, `<reserved_106>` and `<reserved_107>` in
Baichuan 2's. Source: `generation_utils.py` and `tokenization_baichuan.py` of Baichuan-13B-Chat and Baichuan2-13B-Chat.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camelid_core.json_files import object_in
from camelid_core.models.checkpoint_converters import Converted
from camelid_core.models.sentencepiece_model import read_sentencepiece
from camelid_core.models.sentencepiece_tokenizer import TokenizerSettings, save_fast_tokenizer

_SETTINGS = TokenizerSettings(pad_token="<unk>", control=r"<reserved_\d+>")  # noqa: S106 – a token of text
_ROWS = 8192
_TEMPLATES = {"<reserved_102>": "baichuan", "<reserved_106>": "baichuan-2"}


def write_tokenizer(source: Path, output: Path, longest: int) -> Converted:
    """The tokenizer, and which template the model was trained with."""
    model = read_sentencepiece(source / "tokenizer.model")
    save_fast_tokenizer(model, source, output, _SETTINGS, longest)
    user = object_in(source / "generation_config.json").get("user_token_id")
    named = model.pieces[user].text if isinstance(user, int) and 0 <= user < len(model.pieces) else ""
    template = _TEMPLATES.get(named, "")
    if template:
        return Converted(template, (f"Its generation_config.json names chat tokens: the template is {template!r}.",))
    note = "It names no chat tokens, so it is taken for a base model: a template is chosen when it is trained or asked."
    return Converted("", (note,))


def normalised_rows(weight: Any) -> tuple[Any]:
    """Baichuan 2's head divides each of its rows by the row's length before it multiplies; here that is done once. In
    float32, some rows at a time: a head has half a billion numbers."""
    import torch

    parts = [torch.nn.functional.normalize(rows.float()).to(weight.dtype) for rows in weight.split(_ROWS)]
    return (torch.cat(parts),)
