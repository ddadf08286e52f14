"""Why auto-gptq itself is not used. Knows which packages are installed. Imports none of them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from camelid_core.plugins import Note

_WHY = (
    "it was last released in March 2024 and is no longer maintained. Beside transformers 5 it cannot be imported: it "
    "takes `no_init_weights` from transformers.modeling_utils, `create_repo` and `create_commit` from "
    "transformers.utils.hub and `PEFT_TYPE_TO_MODEL_MAPPING` from peft, which are gone; and it quantises on CUDA only. "
    "GPTQModel reads and writes its format, and its folders load as they are."
)


def note() -> Note:
    """What `camelid plugins doctor` says of auto-gptq."""
    try:
        there = f"auto-gptq {version('auto-gptq')} is installed, and not used"
    except PackageNotFoundError:
        there = "not used"
    return Note("auto-gptq", f"{there}: {_WHY}")
