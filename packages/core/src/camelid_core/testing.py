"""Test helpers for plugin authors: contracts for templates, model adapters, datasets and readers; tiny random models.

Knows how to make real, small models in seconds without a network. Not imported by the product.
"""

from __future__ import annotations

import json
import pkgutil
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from .errors import TemplateError
from .models.adapters import ModelAdapter, infer_lora_targets
from .models.capabilities import CAPABILITIES
from .plugin_kit.dataset_contract import assert_dataset_contract as assert_dataset_contract
from .plugin_kit.executor_contract import assert_executor_contract as assert_executor_contract
from .plugin_kit.reader_contract import assert_reader_contract as assert_reader_contract
from .records import Message
from .special_tokens import special_tokens
from .templates.chat_template_export import render_chat_template
from .templates.segments import segments_text, trained_spans
from .templates.template import PromptTemplate
from .tokenization.encoder import IGNORE, Encoder

CONVERSATIONS: tuple[tuple[Message, ...], ...] = (
    (Message("user", "What is 2 + 3?"), Message("assistant", "2 + 3 = 5. The answer is 5.")),
    (Message("user", "Add them.", "4 and 5"), Message("assistant", "9")),
    (
        Message("system", "Answer in one word."),
        Message("user", "Capital of France?"),
        Message("assistant", "Paris"),
        Message("user", " Und von\n中国? "),
        Message("assistant", " Peking\n"),
    ),
)


def assert_template_contract(
    template: PromptTemplate, tokenizer: Any, conversations: Sequence[Sequence[Message]] = CONVERSATIONS
) -> None:
    """What every template must hold with every tokenizer (system messages apart, where it has no place for one):

    - the prompt's ids are a prefix of the conversation's ids, and training starts right behind them;
      of the prompt itself nothing is trained but what the template writes at its end;
    - something is trained on, no text of a user ever is, and parsing the answer back gives the answer;
    - no text of a person or a model becomes a control token;
    - the Jinja export renders the same bytes and marks the same of them as trained.
    """
    encoder = Encoder(tokenizer, template)
    template = encoder.template
    _assert_no_control_token_injection(template, encoder, tokenizer)
    known = [each for each in conversations if each[0].role != "system" or takes_system(template)]
    for messages in known:
        example = encoder.example(messages)
        prompt = encoder.prompt_ids(messages[:-1])
        assert example.input_ids[: len(prompt)] == prompt, (
            f"{template.name}: the prompt is no prefix of the conversation"
        )
        assert example.labels[len(prompt)] != IGNORE, f"{template.name}: the answer's first token is not trained"
        first = encoder.prompt_ids(messages[: [message.role for message in messages].index("assistant")])
        _assert_only_end_trained(template, example.labels[: len(first)])
        _assert_only_answers_trained(template, messages)
        _assert_parse_inverts_render(template, messages)
        _assert_jinja_export_agrees(template, tokenizer, messages)


def takes_system(template: PromptTemplate) -> bool:
    """Whether the template has a place for a system message."""
    try:
        template.prompt((Message("system", "x"), Message("user", "y")))
    except TemplateError:
        return False
    return True


def _assert_only_end_trained(template: PromptTemplate, labels: Sequence[int]) -> None:
    trained = [label != IGNORE for label in labels]
    ignored = len(labels) - trained[::-1].index(False) if False in trained else 0
    assert ignored > 0, f"{template.name}: the prompt is trained"
    assert not any(trained[:ignored]), f"{template.name}: the prompt is trained before its end"


def _assert_only_answers_trained(template: PromptTemplate, messages: Sequence[Message]) -> None:
    trained = [segment.text.strip() for segment in template.render(messages) if segment.trained and not segment.control]
    answers = [message.content.strip() for message in messages if message.role == "assistant"]
    expected = [answer for answer in answers if answer]
    assert trained == expected, f"{template.name}: trained are {trained!r}, not {answers!r}"


def _assert_parse_inverts_render(template: PromptTemplate, messages: Sequence[Message]) -> None:
    whole, prompt = segments_text(template.render(messages)), segments_text(template.prompt(messages[:-1]))
    generated = whole[len(prompt) :].split("</s>")[0]
    for stop in template.stops:
        generated = generated.split(stop)[0]
    answer = template.parse(generated)
    assert answer == messages[-1].content.strip(), (
        f"{template.name}: parse gave {answer!r} for {messages[-1].content!r}"
    )


def _assert_jinja_export_agrees(template: PromptTemplate, tokenizer: Any, messages: Sequence[Message]) -> None:
    eos, bos = tokenizer.eos_token or "", tokenizer.bos_token or ""
    for turns, render, generation in ((messages, template.render, False), (messages[:-1], template.prompt, True)):
        segments = render(turns)
        ours, theirs = (
            segments_text(segments, eos, bos),
            render_chat_template(template.jinja(), turns, eos, generation, bos),
        )
        assert ours == theirs.text, f"{template.name}: Jinja renders {theirs.text!r}, the template {ours!r}"
        if not generation:
            spans = trained_spans(segments, eos, bos)
            assert spans == theirs.spans, f"{template.name}: Jinja marks {theirs.spans}, the template trains {spans}"


def _assert_no_control_token_injection(template: PromptTemplate, encoder: Encoder, tokenizer: Any) -> None:
    specials = special_tokens(tokenizer)
    system = takes_system(template)
    plain = (Message("system", "w"), Message("user", "x"), Message("assistant", "y"))[not system :]
    words = "".join(specials), "".join(specials), " ".join(specials)
    spelling = [
        Message(message.role, message.content + spelled)
        for message, spelled in zip(plain, words[not system :], strict=True)
    ]
    ids = set(tokenizer.convert_tokens_to_ids(specials)) - {tokenizer.unk_token_id}

    def count(messages: Sequence[Message]) -> int:
        return sum(token in ids for token in encoder.example(messages).input_ids)

    assert count(spelling) == count(plain), f"{template.name}: text of a person became a control token"


def assert_adapter_contract(adapter: ModelAdapter, templates: Sequence[str], linear_names: Sequence[str]) -> None:
    """An adapter names a registered template, some of its LoRA targets (or inferred ones) exist among `linear_names`,
    and what it says is verified are capabilities that there are."""
    assert adapter.template in templates, f"{adapter.name}: template {adapter.template!r} is not registered"
    last_parts = {name.rpartition(".")[2] for name in linear_names}
    targets = set(adapter.lora_targets or infer_lora_targets(linear_names))
    assert targets & last_parts, f"{adapter.name}: no linear layer is called {sorted(targets)}"
    unknown = set(adapter.verified) - set(CAPABILITIES)
    assert not unknown, f"{adapter.name}: there is no capability {sorted(unknown)}; there are {sorted(CAPABILITIES)}"


_CORPUS = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "### Instruction:\n### Response: The answer is 7. 3 * 4 = 12 and 12 - 5 = 7. user assistant system 答案是7。",
    "USER: ASSISTANT: <|user|> <|assistant|>",
    "A chat between a curious user and an assistant. Tom has 3 boxes with 4 pens each. How many pens are left?",
)


def tiny_tokenizer(
    specials: Sequence[str] = ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), vocabulary: int = 500
) -> Any:
    """A byte-level BPE tokenizer trained on the spot; the last of `specials` pads, the second ends a sequence."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(specials), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(_CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=specials[1], pad_token=specials[-1])


_LAYERS = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 512}
_TINY: dict[str, dict[str, Any]] = {
    "llama": {**_LAYERS, "intermediate_size": 128, "num_key_value_heads": 2},
    "qwen2": {**_LAYERS, "intermediate_size": 128, "num_key_value_heads": 2},
    "gpt_neox": {**_LAYERS, "intermediate_size": 128},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "gemma": {**_LAYERS, "intermediate_size": 128, "num_key_value_heads": 1, "head_dim": 16},
    "glm": {**_LAYERS, "intermediate_size": 128, "num_key_value_heads": 2, "head_dim": 16},
    "phi": {**_LAYERS, "intermediate_size": 128},
    "persimmon": {**_LAYERS, "intermediate_size": 128},
}


def tiny_model(directory: Path, family: str = "llama", seed: int = 0, tokenizer: Any = None) -> Path:
    """A random model of two layers with its tokenizer, saved as a Transformers directory; returns `directory`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer or tiny_tokenizer()
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_TINY[family],
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def suppress_end_of_sequence(directory: Path) -> Path:
    """Edit the tiny model in `directory` so that it never generates its end-of-sequence token: sampled or not, the
    likeliest token wins, and that is another one."""
    from safetensors.torch import load_file, save_file

    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 65536}))
    weights = load_file(directory / "model.safetensors")
    weights["lm_head.weight"] *= 1000
    weights["lm_head.weight"][config["eos_token_id"]] = 0
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def tiny_models(root: Path) -> Callable[..., Path]:
    """Makes `tiny_model(family, seed)` below `root`, each once."""

    @cache
    def make(family: str = "llama", seed: int = 0) -> Path:
        return tiny_model(root / f"{family}-{seed}", family, seed)

    return make


def isolated_home(folder: Path, monkeypatch: Any) -> Path:
    """An empty CAMELID_HOME in `folder`, and a working directory beside it; pytest's `monkeypatch` undoes both."""
    work = folder / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("CAMELID_HOME", str(folder / "home"))
    return folder / "home"


_SHADOW_MODULE = """
import posix
_file = posix.open({imported!r}, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT)
posix.write(_file, b"{name} ")
posix.close(_file)
"""
"""It uses only what is built into the interpreter: the first module that is imported may be `encodings`."""


def shadow_every_module(directory: Path) -> Callable[[], set[str]]:
    """Put a file `NAME.py` into `directory` for every installed or standard module, to shadow it.

    A program that runs there must import none of them: calling the result gives the names of those it did import.
    """
    imported = directory / "imported.txt"
    installed = {module.name for module in pkgutil.iter_modules()}
    for name in installed | sys.stdlib_module_names | {"sitecustomize", "usercustomize"}:
        (directory / f"{name}.py").write_text(
            _SHADOW_MODULE.format(imported=str(imported), name=name), encoding="utf-8"
        )
    return lambda: set(imported.read_text(encoding="utf-8").split()) if imported.exists() else set()


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
