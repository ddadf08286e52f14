"""Arguments of Alpaca-CoT's `merge.py` → a `camelid merge` command. Knows both sides. Opens nothing."""

from __future__ import annotations

from collections.abc import Sequence

from camelid_core.compat.arguments import Flag, parse
from camelid_core.compat.command_lines import CommandLine
from camelid_core.errors import UsageError

_FLAGS: tuple[Flag, ...] = (
    ("model_type", str, "chatglm", None),
    ("size", str, "7b", None),
    ("lora_dir", str, "none", None),
    ("merged_dir", str, "saved_models/tmp", None),
)


def read(arguments: Sequence[str]) -> CommandLine:
    """Raises UsageError: a flag without its value, or no adapter."""
    flags, unknown, given = parse("merge", _FLAGS, arguments)
    if flags.lora_dir.lower() == "none":
        raise UsageError("merge: --lora_dir is needed: the directory of the adapter, or an artefact's name.")
    out = flags.merged_dir if flags.merged_dir.startswith((".", "/", "~")) else f"./{flags.merged_dir}"
    notes = [
        "The weights are written in the base's own dtype, in files of at most 4 GB; the original took "
        "float16 and 400 MB."
    ]
    if given & {"model_type", "size"}:
        notes.append("--model_type and --size: the adapter itself says which base it is for.")
    return CommandLine("merge", ["merge", flags.lora_dir, "--out", out], notes, unknown)
