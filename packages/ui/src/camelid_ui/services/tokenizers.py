"""A tokenizer from `tokenizer.json` alone, light enough for the web process.

Knows as much of a transformers tokenizer as `Encoder` needs, and gives the same ids (a test
compares the two). Imports neither transformers nor torch: loading those would cost the pages 5 s and 400 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from camelid_core.errors import ModelError
from camelid_core.json_files import object_in
from camelid_core.models.gguf import is_gguf
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.templates.hf_chat_template import read_chat_template


class LightTokenizer:
    """The tokenizer in one directory's `tokenizer.json` and `tokenizer_config.json`."""

    def __init__(self, directory: Path) -> None:
        from tokenizers import Tokenizer

        self.name_or_path = str(directory)
        try:
            self.backend_tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # the Rust library raises bare Exceptions
            raise ModelError(f"{str(directory / 'tokenizer.json')!r} cannot be read: {error}") from None
        config = self.init_kwargs = object_in(directory / "tokenizer_config.json")
        self.eos_token = _text(config.get("eos_token")) or _text(
            object_in(directory / "special_tokens_map.json").get("eos_token")
        )
        self.bos_token = _text(config.get("bos_token"))
        self.chat_template = read_chat_template(directory)
        self._bos = self.bos_token if config.get("add_bos_token") else ""
        self.added_tokens_decoder = self.backend_tokenizer.get_added_tokens_decoder()

    def convert_tokens_to_ids(self, token: str) -> int | None:
        found: int | None = self.backend_tokenizer.token_to_id(token)
        return found

    @property
    def special_ids(self) -> frozenset[int]:
        return frozenset(index for index, token in self.added_tokens_decoder.items() if token.special)

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return str(self.backend_tokenizer.decode(list(ids), skip_special_tokens=False))

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        ids = list(self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)
        bos = self.convert_tokens_to_ids(self._bos) if self._bos and add_special_tokens else None
        return {"input_ids": ids if bos is None or ids[:1] == [bos] else [bos, *ids]}


def light_tokenizer(resolved: ResolvedModel) -> LightTokenizer:
    """The adapter's own tokenizer if it has one, else the base model's.

    Raises:
        ModelError: the model has no `tokenizer.json`.
    """
    beside = resolved.base.parent if is_gguf(resolved.base) else resolved.base
    for directory in (resolved.adapter_dir, beside):
        if directory is not None and (directory / "tokenizer.json").is_file():
            return LightTokenizer(directory)
    raise ModelError(f"{resolved.name!r} has no tokenizer.json; its tokens cannot be shown.")


def _text(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
