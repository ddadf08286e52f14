"""A GGUF file of a Transformers directory, and llama.cpp's arithmetic in torch, for tests and benchmarks.

Knows the parts of an export. Is no job: nothing is estimated, and nothing is said.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host

from .metadata import description
from .model_file import Importances, plan
from .pre_tokenizers import pre_tokenizer_of
from .vocabulary import vocabulary_of

_BLOCK = 32


def write_gguf(directory: Path, file: Path, mixture: str = "f16", importances: Importances | None = None) -> Path:
    """Write the model in `directory` to `file`, with its own chat template; gives `file` back."""
    source = resolve_model(str(directory), load_host(), gguf=False)
    tokenizer = load_tokenizer(source)
    planned = plan(source, mixture, weighted=importances is not None)
    vocabulary = vocabulary_of(tokenizer, planned.layout.vocabulary, ())
    pre = pre_tokenizer_of(tokenizer, vocabulary, file.with_name(".vocabulary.gguf"))
    jinja = tokenizer.chat_template or ""
    about = description(directory.name, source.licence, mixture, vocabulary, pre, jinja)
    planned.write(file, about, importances=importances)
    return file


def round_inputs(model: Any) -> None:
    """Let a model of Transformers round what goes into its matrices as llama.cpp does where these are Q8_0: to whole
    numbers of 8 bits in blocks of 32, each with a scale in float16. There is no way back."""
    import torch

    def rounded(module: Any, inputs: tuple[Any]) -> tuple[Any]:
        (values,) = inputs
        blocks = values.reshape(-1, _BLOCK)
        scale = blocks.abs().amax(1, keepdim=True) / 127
        numbers = torch.where(scale > 0, blocks / scale, 0).round()
        return ((numbers * scale.half().float()).reshape(values.shape),)

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(rounded)
