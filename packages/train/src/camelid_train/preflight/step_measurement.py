"""Memory and time of trial steps at the longest rows of a run, without an effect on the run.

Knows a trainer's step, clocks and memory. Knows nothing of recipes, events or disks.

Weights, optimizer state, random states, counts and the order of rows are restored afterwards: a run with a preflight
ends with the same bits as one without.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import psutil
import torch
from camelid_core.errors import TrainingError
from camelid_core.models.devices import available_memory

from camelid_train.distributed import agreement, group
from camelid_train.loop.batches import lengths_of
from camelid_train.loop.memory import optimizer_bytes

MAX_FIRST_STEP_SECONDS = 30.0
"""After a first step (of one row) that took longer, there is no second."""
_SAFE_SHARE = 0.95
"""Share of the free memory that the second step is expected to use at most."""
_SMALL = 1 << 16
_SAMPLE_SECONDS = 0.005


class MeasurableTrainer(Protocol):
    """What a trainer must offer: a batch of the longest rows, the divisor of its loss if it is a sum, and a step over
    it in micro-batches, as `MicroBatchMixin` does. Each row has `sequences` trained sequences: a preference pair
    two."""

    args: Any
    accelerator: Any
    totals: Any
    train_dataset: Any
    current_gradient_accumulation_steps: int
    micro_batch: int
    sequences: int

    def longest_batch(self, rows: int) -> dict[str, Any]: ...
    def loss_divisor(self, inputs: dict[str, Any]) -> Any: ...
    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any: ...
    def set_micro_batch(self, rows: int, reason: str) -> None: ...
    def begin_step(self) -> None: ...
    def discard_step(self, model: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class StepMeasurement:
    """`peak` bytes of memory in a step over `rows` rows of `length` tokens, in micro-batches of `micro_batch_rows`,
    optimizer state included; `free` bytes are there for the run. A micro-batch of n rows is expected to need `fixed` +
    n · `per_row` bytes. `seconds` for all `tokens`; each row has `sequences` sequences."""

    peak: int
    free: int
    fixed: int
    per_row: int
    rows: int
    micro_batch_rows: int
    length: int
    seconds: float
    sequences: int = 1

    @property
    def tokens(self) -> int:
        return self.rows * self.length * self.sequences

    def expected_bytes(self, rows: int) -> int:
        return self.fixed + self.per_row * rows

    def max_rows(self, share: float) -> int:
        """Rows of a micro-batch that are expected to fit into a share of the free memory; 0 if not even one."""
        return max(0, int((share * self.free - self.fixed) // max(1, self.per_row)))


@dataclass(frozen=True, slots=True)
class _StepCost:
    peak: int
    seconds: float


def measure_step(
    trainer: MeasurableTrainer,
    model: Any,
    raise_if_interrupted: Callable[[], None] = lambda: None,
    compiled: bool = False,
) -> StepMeasurement:
    """A step of one row, then of a whole batch; the second only if the first took at most `MAX_FIRST_STEP_SECONDS`.

    `raise_if_interrupted` is called between the two. Where memory runs out the trainer halves its micro-batch for
    good. Layers that are `compiled` at their first call are called once before.

    Raises:
        TrainingError: there is not enough memory, however little is put through at once.
    """
    lengths = lengths_of(trainer.train_dataset)
    rows, length = min(trainer.args.per_device_train_batch_size, len(lengths)), max(lengths)
    state = optimizer_bytes(model)
    device = next(model.parameters()).device
    with restored_afterwards(trainer, model):
        held, free = _allocated(device), _free(device)
        single = trainer.longest_batch(1)
        for _ in range(1 + compiled):
            one = _step(trainer, model, single, state)
        per_row, sequences = max(0, one.peak - held), trainer.sequences
        first = StepMeasurement(one.peak, free, held, per_row, rows, 1, length, one.seconds * rows, sequences)
        raise_if_interrupted()
        if group.any_process(one.seconds > MAX_FIRST_STEP_SECONDS):
            return first
        if device.type == "cpu" and trainer.accelerator.num_processes == 1:
            _limit_micro_batch(trainer, first)
        batch = trainer.longest_batch(rows)
        for _ in range(1 + compiled):
            whole = _stable_step(trainer, model, batch, state)
    micro_batch_rows = min(rows, trainer.micro_batch)
    per_row = max(0, (whole.peak - one.peak) // (micro_batch_rows - 1)) if micro_batch_rows > 1 else first.per_row
    fixed = whole.peak - per_row * micro_batch_rows
    return StepMeasurement(whole.peak, free, fixed, per_row, rows, micro_batch_rows, length, whole.seconds, sequences)


def _limit_micro_batch(trainer: MeasurableTrainer, first: StepMeasurement) -> None:
    """Lower the micro-batch to what is expected to fit: a process that uses too much memory is killed, not told."""
    rows, fits = min(first.rows, trainer.micro_batch), max(1, first.max_rows(_SAFE_SHARE))
    if fits < rows:
        trainer.set_micro_batch(
            fits, f"{rows} rows are expected to take {first.expected_bytes(rows):,} of {first.free:,} bytes."
        )


def _stable_step(trainer: MeasurableTrainer, model: Any, batch: dict[str, Any], state: int) -> _StepCost:
    """A step in which the micro-batch stayed the same in all processes: the time of one that ran out of memory is
    meaningless."""
    while True:
        before = trainer.micro_batch
        step = _step(trainer, model, batch, state)
        agreement.sync_micro_batch(trainer)
        if trainer.micro_batch == before:
            return step


def _step(trainer: MeasurableTrainer, model: Any, inputs: dict[str, Any], state: int) -> _StepCost:
    """Forward and backward pass, while the memory of the optimizer state is reserved."""
    device = next(model.parameters()).device
    reserve = _reserve_optimizer_state(state, device) if device.type == "cuda" else None
    trainer.begin_step()
    loss_divisor = trainer.loss_divisor(inputs)
    with PeakMemory(device) as peak:
        began = time.perf_counter()
        trainer.training_step(model, inputs, loss_divisor)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - began
    trainer.discard_step(model)
    held = peak.bytes if reserve is not None else peak.bytes + state
    return _StepCost(held, seconds)


def _reserve_optimizer_state(state: int, device: Any) -> Any:
    """GPU memory of the size of the optimizer state."""
    try:
        return torch.empty(state, dtype=torch.uint8, device=device)
    except torch.OutOfMemoryError:
        raise TrainingError(
            f"the model fits onto the card, and the {state:,} bytes that its optimizer needs do not. Choose a method "
            'that takes less (method.type="lora" or "qlora"), share it among cards (launch.strategy="fsdp"), or take a '
            "smaller model."
        ) from None


@contextmanager
def restored_afterwards(trainer: Any, model: Any) -> Iterator[None]:
    """Restores the model, the trainer and all random states afterwards."""
    modules = [(module, dict(vars(module)), _buffers(module)) for module in model.modules()]
    python, numpy_state = random.getstate(), np.random.get_state()
    gradients = trainer.accelerator.gradient_state
    synchronised = gradients.sync_gradients
    gradients._set_sync_gradients(True)
    trainer.current_gradient_accumulation_steps = 1
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        gradients._set_sync_gradients(synchronised)
        random.setstate(python)
        np.random.set_state(numpy_state)
        for module, values, buffers in modules:
            vars(module).update(values)
            for name, (buffer, copy) in buffers.items():
                module._buffers[name] = buffer
                if copy is not None:
                    buffer.copy_(copy)


def _buffers(module: Any) -> dict[str, tuple[Any, Any]]:
    """The module's buffers, small ones with a copy: dynamic RoPE changes its frequencies in place."""
    return {
        name: (buffer, buffer.clone() if buffer is not None and buffer.numel() <= _SMALL else None)
        for name, buffer in module._buffers.items()
    }


class PeakMemory:
    """Peak memory while its block runs, in `bytes`: allocated on the GPU, else resident in this process."""

    def __init__(self, device: Any) -> None:
        self._device = device
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        self.bytes = 0

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        else:
            self._done.set()
            self._thread.join()

    def _sample(self) -> None:
        process = psutil.Process()
        while True:
            self.bytes = max(self.bytes, process.memory_info().rss)
            if self._done.wait(_SAMPLE_SECONDS):
                return


def _allocated(device: Any) -> int:
    return int(torch.cuda.memory_allocated(device)) if device.type == "cuda" else psutil.Process().memory_info().rss


def _free(device: Any) -> int:
    """Bytes this run may use in all: the free ones, and those it uses already."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    return available_memory() + _allocated(device)
