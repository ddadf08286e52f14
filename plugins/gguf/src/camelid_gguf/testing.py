"""A GGUF file of a Transformers directory, for tests and benchmarks of engines that read them.

Knows the parts of an export. Is no job: nothing is estimated, and nothing is said.
"""

from __future__ import annotations

from pathlib import Path

from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host

from .metadata import description
from .model_file import Importances, plan
from .pre_tokenizers import pre_tokenizer_of
from .vocabulary import vocabulary_of


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
