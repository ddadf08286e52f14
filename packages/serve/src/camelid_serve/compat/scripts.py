"""Argument lists of Alpaca-CoT's `generate.py`, `server.py`, `predict.py` and `web.py` → Camelid commands.

Knows both command lines, where the original kept its files, and how it asked each type of model. Opens no file but the
manifest of an artefact, which says its template.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from camelid_core.compat.arguments import Flag, parse
from camelid_core.compat.command_lines import CommandLine
from camelid_core.compat.families import DEFAULT_WEIGHTS, family_of, weights_of
from camelid_core.models.resolved_model import manifest_of
from camelid_core.plugins import load_host

_MAX_NEW_TOKENS = "512"
_MODEL: tuple[Flag, ...] = (
    ("llm", str, None, None),
    ("size", str, None, None),
    ("model_name_or_path", str, None, None),
    ("model_path", str, None, None),
    ("lora_dir", str, "none", None),
    ("lora_name_or_path", str, None, None),
    ("lora_r", int, 8, None),
    ("lora_alpha", int, 16, None),
    ("lora_dropout", float, 0.05, None),
    ("quantization_bit", int, None, None),
    ("local_rank", int, -1, None),
)
_NO_BEAMS = "The original used beam search with 4 beams; here decoding is greedy."


@dataclass(frozen=True, slots=True)
class Script:
    """One of the original's programs: its own `flags`, the command (`words`) and `notes` for them, and the model type
    that it used by default."""

    flags: tuple[Flag, ...]
    words: Callable[[str, Namespace], list[str]]
    notes: Callable[[Namespace], list[str]]
    model_type: str = "llama"


def read(name: str, arguments: Sequence[str]) -> CommandLine:
    """Raises UsageError: a flag without its value, or no model."""
    script = SCRIPTS[name]
    flags, unknown, given = parse(
        name, (("model_type", str, script.model_type, None), *_MODEL, *script.flags), arguments
    )
    notes: list[str] = []
    model, tuned = _model(name, flags, notes)
    template = _template(model, tuned, flags, notes)
    notes += [*_remarks(flags, given), *script.notes(flags)]
    command, *words = script.words(model, flags)
    return CommandLine(name, [command, *words, *template], notes, unknown)


def _template(model: str, tuned: bool, flags: Namespace, notes: list[str]) -> list[str]:
    """The template that an artefact was trained with, without a word; else the one that the original asked with."""
    manifest = manifest_of(model, load_host())
    if manifest is not None and manifest.template is not None:
        notes.append(f"Asked with {manifest.template.name}, the template that {model} was trained with.")
        return []
    family = family_of((flags.llm or flags.model_type).partition("_")[0])
    template = family.adapter_template if tuned else family.template
    what = f"{'an adapter for ' if tuned else ''}{family.name}"
    notes.append(f"--template {template}: how the original asked {what}; without it, the model's own template is used.")
    return ["--template", template]


def _model(name: str, flags: Namespace, notes: list[str]) -> tuple[str, bool]:
    """The adapter that was named or that training left, else the model that was named, else the type's own weights;
    and whether it is an adapter."""
    adapter = flags.lora_name_or_path or (None if flags.lora_dir.lower() == "none" else flags.lora_dir)
    if adapter:
        return str(adapter), True
    model = flags.model_name_or_path or flags.model_path
    kind = flags.llm or flags.model_type
    trained = list(_trained(kind, flags)) if name == "generate" and flags.data else []
    here = next((path for path in trained if Path(path).is_dir()), None)
    if here:
        return here, True
    if trained:
        notes.append(f"No adapter is at {' or '.join(trained)}; the model answers as it is.")
    if model:
        return str(model), False
    known = weights_of(kind, flags.size)
    if not known:
        size = f" {flags.size}" if flags.size else ""
        notes.append(f"No weights are known as {kind}{size}; {DEFAULT_WEIGHTS} stands for the name of yours.")
        notes += family_of(kind.partition("_")[0]).notes
    return known or DEFAULT_WEIGHTS, False


def _trained(kind: str, flags: Namespace) -> Iterator[str]:
    """Where training on this data left its adapter: under today's name, and under the manual's."""
    data, name = _stem(flags.data), kind.partition("_")[0]
    yield f"./saved_models/{name}_{data}"
    yield f"./saved-{data}{(flags.size or '7b').lower()}"


def _remarks(flags: Namespace, given: set[str]) -> Iterator[str]:
    if given & {"lora_r", "lora_alpha", "lora_dropout"}:
        yield "--lora_r, --lora_alpha and --lora_dropout: the adapter itself says them."
    if flags.quantization_bit:
        yield f"--quantization_bit {flags.quantization_bit}: models are loaded in the dtype of their files."
    if flags.local_rank != -1:
        yield "--local_rank: one process answers."


def _generate(model: str, _: Namespace) -> list[str]:
    return ["chat", model, "--preset", "alpaca-cot"]


def _server(model: str, _: Namespace) -> list[str]:
    return ["chat", model, "--temperature", "0", "--max-new-tokens", _MAX_NEW_TOKENS]


def _predict(model: str, flags: Namespace) -> list[str]:
    size = ["--batch-size", str(flags.predict_batch_size)]
    words = ["predict", model, _file(flags.data), "--out", _result(flags.result_dir)]
    return [*words, *size, "--temperature", "0", "--max-new-tokens", _MAX_NEW_TOKENS]


def _web(model: str, flags: Namespace) -> list[str]:
    return ["serve", model, "--host", flags.host, "--port", str(flags.port)]


def _file(data: str) -> str:
    """A name was a file of the original's data directory."""
    places = [data, f"{data}.json", f"data/{data}.json", f"data/{data}"]
    return next((place for place in places if Path(place).is_file()), places[2] if not Path(data).suffix else data)


def _result(path: str) -> str:
    """Its flag says directory and meant a file."""
    return str(Path(path) / "saved_result.txt") if Path(path).is_dir() else path


def _stem(data: str) -> str:
    return data.replace("\\", "/").rpartition("/")[2].removesuffix(".json")


def _predict_notes(flags: Namespace) -> list[str]:
    file = _file(flags.data)
    missing = [] if Path(file).is_file() else [f"{file} is not here; put the questions there, or name their file."]
    return [
        *missing, _NO_BEAMS, f"--cutoff_len {flags.cutoff_len}: a question too long for the model is said, never cut.",
    ]  # fmt: skip


SCRIPTS: Mapping[str, Script] = {
    "generate": Script(
        (("data", str, None, None),),
        _generate,
        lambda _: ["num_beams 4: an answer that is shown while it grows has no beams; one is sampled."],
    ),
    "server": Script((), _server, lambda _: [_NO_BEAMS, "/clear begins anew, /stop ends; the conversation is kept."]),
    "predict": Script(
        (
            ("data", str, "test", None),
            ("result_dir", str, "saved_result.txt", None),
            ("predict_batch_size", int, 128, None),
            ("cutoff_len", int, 512, None),
        ),
        _predict,
        _predict_notes,
        "belle_bloom",
    ),
    "web": Script(
        (("host", str, "127.0.0.1", None), ("port", int, 8410, None)),
        _web,
        lambda _: [
            _NO_BEAMS,
            "A key is asked for, and printed at the start; the original asked for none.",
            "The original let every machine in; here that takes --host 0.0.0.0.",
        ],
    ),
}
