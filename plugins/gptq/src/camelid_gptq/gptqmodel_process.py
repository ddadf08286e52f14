"""The process that GPTQModel runs in: `python -P gptqmodel_process.py`, which reads paths of requests, one a line.

A process of its own, because GPTQModel changes transformers and safetensors when it is imported, writes to standard
output, cannot be stopped, and ends the whole process when one of its threads fails. It is run by the interpreter that
has GPTQModel, which need not be Camelid's: nothing of Camelid is imported. Standard output has one JSON object a line:
`done` and `total` (layers) while it works, `note` for a person, and `quantised` at the end, or `error`.
Knows GPTQModel. Knows nothing of calibration sets, branches or manifests.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

Say = Callable[..., None]
QUIET = {"LOGBAR_ANIMATION": "0", "LOGBAR_PROGRESS_OUTPUT_INTERVAL": "1000000", "HF_HUB_OFFLINE": "1"}


def quantise(request: dict[str, Any], say: Say) -> None:
    """Quantise `model` into the directory `output`."""
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    from gptqmodel import __version__ as version

    config = QuantizeConfig(
        **{name: request[name] for name in ("bits", "group_size", "desc_act", "sym", "true_sequential")},
        damp_percent=request["damp"],
        act_group_aware=request["group_aware"],
        offload_to_disk_path=request["scratch"],
    )
    model = GPTQModel.load(request["model"], config, dtype=getattr(torch, request["dtype"]), trust_remote_code=False)
    total = int(model.model.config.get_text_config().num_hidden_layers)

    def layer_done(layer_idx: int, submodule_finalized: bool) -> None:
        if submodule_finalized:
            say(done=layer_idx + 1, total=total)

    model.layer_callback = layer_done
    say(done=0, total=total)
    model.quantize(request["calibration"], batch_size=request["batch"], calibration_data_min_length=0)
    for note in notes_on(model.quant_log, request["damp"]):
        say(note=note)
    model.save(request["output"])
    say(quantised=f"GPTQModel {version}")


def workers_for_few_cores() -> None:
    """GPTQModel takes half of the cores as workers, and fails where its loader, which needs two, gets one."""
    if (os.cpu_count() or 1) < 3:
        os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")


def notes_on(log: list[dict[str, Any]], damp: float) -> Iterator[str]:
    """What GPTQModel did otherwise than it was asked: more damping where the Hessian could not be inverted, and plain
    rounding where too few calibration tokens reached a matrix."""
    damped = [number for number in (_number(entry.get("damp")) for entry in log) if number > damp + 1e-5]
    if damped:
        yield f"{len(damped)} of {len(log)} matrices needed more damping than {damp:g}: up to {max(damped):g}."
    rounded = [f"{entry.get('layer')}.{entry.get('module')}" for entry in log if "fallback" in str(entry.get("loss"))]
    if rounded:
        some = ", ".join(rounded[:3]) + (" …" if len(rounded) > 3 else "")
        yield f"{len(rounded)} of {len(log)} matrices got too few calibration tokens and were rounded plainly: {some}."


def _number(value: Any) -> float:
    """0 for what is no number: where GPTQModel has none, it writes words or nothing."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


@contextlib.contextmanager
def reports() -> Iterator[Say]:
    """What says things to the parent; all that others print goes to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as pipe:
        os.dup2(2, 1)
        yield lambda **values: _write(pipe, values)


def _write(pipe: TextIO, values: dict[str, Any]) -> None:
    pipe.write(json.dumps(values) + "\n")
    pipe.flush()


def main() -> None:
    """Answer requests until there are no more. The first failure ends it."""
    workers_for_few_cores()
    os.environ.update(QUIET)
    with reports() as say:
        for line in sys.stdin:
            try:
                quantise(json.loads(Path(line.rstrip("\n")).read_text(encoding="utf-8")), say)
            except Exception as error:
                say(error=f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
                raise


if __name__ == "__main__":
    main()
