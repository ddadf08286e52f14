"""Rehearsal (a smoke test): the whole recipe on a tiny random model of the same architecture.

Knows the stages of a run and what each must show. Nothing is published, and of the base only its configuration and
its tokenizer are needed. The tables say which fields of the recipe are reduced.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camelid_core import staging
from camelid_core.errors import CamelidError, TrainingError
from camelid_core.jobs.attempt import AttemptContext
from camelid_core.jobs.run_directories import attempt_directory
from camelid_core.models.resolved_model import resolve_model
from camelid_core.paths import home as real_home
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted

from camelid_train.config import Recipe
from camelid_train.export.merge_config import MergeConfig
from camelid_train.methods.registry import method_of, methods
from camelid_train.run_preparation import base_model

ROWS, STEPS = 24, 4

UPPER_LIMITS: Mapping[str, Mapping[str, int]] = {
    "data": {"rows": ROWS, "eval_rows": 4},
    "train": {"accumulation": 2},
    "objective": {"answer_tokens": 16},
    "eval": {"batch_size": 2, "samples": 1, "sample_tokens": 8},
    "method": {"r": 8, "initial_r": 8, "target_r": 4, "tokens": 8, "every": 1},
}
"""Upper limits of these fields in a rehearsal."""
OVERRIDES: Mapping[str, Mapping[str, Any]] = {
    "train": {"max_steps": STEPS, "save_steps": STEPS // 2, "log_steps": 1, "output": "", "batch_size": 2}
    | {"best": False, "stop_at_loss": None, "report_to": []},
    "objective": {"group": 2},
    "eval": {"steps": STEPS // 2, "patience": None},
    "launch": {"processes": 1, "nodes": 1, "strategy": "ddp"},
    "method": {"warmup_steps": None, "final_steps": None},
}
"""Values of these fields in a rehearsal."""
SUBSTITUTE_METHODS = {"lora-gptq": "lora"}
"""Methods that need weights no random model has, and the method that a rehearsal uses instead."""
_OWN_DIRECTORIES = ("runs", "cache", "logs", "tiny")
"""Directories of a home that a rehearsal writes into, and so has its own of."""
_TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
_CAUGHT = (ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a run that succeeded: its name, its time, and its result as a sentence."""

    name: str
    seconds: float
    text: str


class Stages:
    """The stages done so far; `on_stage` is called with each when it is done."""

    def __init__(self, on_stage: Callable[[Stage], None] = lambda stage: None) -> None:
        self.done: list[Stage] = []
        self.current = "model"
        self._on_stage = on_stage
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        return round(sum(stage.seconds for stage in self.done), 1)

    def finish(self, text: str, then: str = "") -> None:
        """The current stage succeeded; another begins."""
        now = time.monotonic()
        self.done.append(Stage(self.current, round(now - self._since, 2), text))
        self.current, self._since = then, now
        self._on_stage(self.done[-1])


class _RehearsalContext(AttemptContext):
    """A run's context that follows the stages through events, and interrupts the first run at half of its steps."""

    def __init__(self, directory: Path, stages: Stages, first: bool) -> None:
        directory.mkdir(parents=True)
        super().__init__(directory)
        self._stages = stages
        self._first = first
        self.losses: list[float] = []
        self.heldout: list[float] = []

    def emit(self, kind: str, **values: Any) -> None:
        super().emit(kind, **values)
        if kind in ("train", "eval"):
            (self.losses if kind == "train" else self.heldout).append(values["loss"])
        if self._first and kind == "data":
            self._stages.finish(_of_data(values), "method")
        if self._first and kind == "model":
            learning, all_ = values["trainable_parameters"], values["all_parameters"]
            self._stages.finish(f"{values['method']}: {learning:,} of {all_:,} parameters learn", "training")
        if self._first and kind == "progress" and values.get("unit") == "steps" and values["done"] >= STEPS // 2:
            self.request_stop("save")

    def curves(self) -> str:
        """First and last values of the losses."""
        parts = {"loss": self.losses, "held-out loss": self.heldout}
        reason = [f"{name} {each[0]:.3f} → {each[-1]:.3f}" for name, each in parts.items() if each]
        return ", ".join(reason)


def rehearse(recipe: Recipe, on_stage: Callable[[Stage], None] = lambda stage: None) -> Stages:
    """Run the whole of `recipe` on a tiny model.

    Raises:
        TrainingError: what went wrong, and in which stage.
    """
    stages = Stages(on_stage)
    try:
        with _temporary_home() as home:
            _run_stages(recipe, home, stages)
    except CamelidError as error:
        raise TrainingError(f"the rehearsal failed at its stage {stages.current!r}: {error}") from error
    except _CAUGHT as error:
        reason = str(error).strip().partition("\n")[0] or "no reason given"
        text = f"the rehearsal failed at its stage {stages.current!r} with a {type(error).__name__}: {reason}"
        raise TrainingError(text) from error
    return stages


def _run_stages(recipe: Recipe, home: Path, stages: Stages) -> None:
    from camelid_core.models.loading import check_weight_files

    host = load_host()
    resolved = base_model(recipe, host)
    check_weight_files(resolved.base)

    # these import torch: missing files are reported before that
    from camelid_train.export.merge import merge
    from camelid_train.loop.acceleration import without_liger
    from camelid_train.run import train

    from .tiny_model import make_tiny_model

    model = make_tiny_model(resolved, home / "tiny")
    tiny = resolve_model(str(home / "tiny"), host)
    small = rehearsal_recipe(recipe, tiny.name, resolved.template if tiny.template != resolved.template else "")
    words = model.get_input_embeddings().num_embeddings
    size = f"{model.num_parameters() / 1e6:.1f} million random parameters, {words:,} words"
    stages.finish(f"{type(model).__name__} made small: {size}", "data")

    with without_liger(), _attempt(home, 1, 1, stages, first=True) as first, suppress(Interrupted):
        train(small, first)
    stages.finish(f"{len(first.losses)} steps, {first.curves()}", "checkpoint")

    seen: list[Any] = []
    with without_liger(), _attempt(home, 1, 2, stages) as last:
        train(small, last, on_trained=lambda model: seen.append(_logits(model)))
    stages.finish(f"saved, taken up again, {len(last.losses)} more steps, {last.curves()}", "loading")

    again = resolve_model(str(last.output), host)  # with RoPE scaling, which the tiny model lacks
    difference = _difference(seen[0], _logits(_reloaded(small, again, last.output)))
    if difference > _TOLERANCES[_dtype(small)]:
        raise TrainingError(f"what was saved gives other logits than what was trained (by {difference:.2g}).")
    stages.finish(f"plain libraries load the result, and its logits are {_same(difference)}", "merging")
    if not any(first.losses + last.losses):
        stages.finish("not tried: no random answer earned a reward, so the adapter has learnt nothing yet")
    elif methods()[small.method.type].mergeable:
        with _attempt(home, 2, 1, stages) as merging:
            metrics = merge(MergeConfig(adapter=str(last.output)), merging)
        stages.finish(f"merged into the base, and the logits are {_same(metrics['logit_difference'])}")


@contextmanager
def _attempt(home: Path, job: int, epoch: int, stages: Stages, first: bool = False) -> Iterator[_RehearsalContext]:
    context = _RehearsalContext(attempt_directory(home, job, epoch), stages, first)
    try:
        yield context
    finally:
        context.close()


def _same(difference: float) -> str:
    return f"the same within {difference:.0e}" if difference else "the same to the bit"


def rehearsal_recipe(recipe: Recipe, model: str, template: str = "") -> Recipe:
    """The recipe for `model`, reduced by the tables; `template` where the tiny model does not name its own."""
    values = recipe.model_dump(mode="json")
    values["method"]["type"] = SUBSTITUTE_METHODS.get(recipe.method.type, recipe.method.type)
    for section, fields in UPPER_LIMITS.items():
        for name, most in fields.items():
            if name in values[section]:
                given = values[section][name]
                values[section][name] = most if given is None else min(given, most)
    for section, changes in OVERRIDES.items():
        values[section] |= {name: value for name, value in changes.items() if name in values[section]}
    if not recipe.data.eval_rows:
        values["eval"]["steps"] = None
    values["model"] |= {"name": model, "revision": ""}
    values["data"]["template"] = recipe.data.template or template
    return Recipe.model_validate(values)


@contextmanager
def _temporary_home() -> Iterator[Path]:
    """A temporary home with links to the models, data and other directories of the real one."""
    there = real_home()
    places = [place for place in there.glob("*") if place.is_dir() and place.name not in _OWN_DIRECTORIES]
    before = os.environ.get("CAMELID_HOME")
    with staging.scratch("camelid-rehearsal") as directory:
        home = directory.resolve()
        for place in places:
            (home / place.name).symlink_to(place)
        os.environ["CAMELID_HOME"] = str(home)
        try:
            yield home
        finally:
            os.environ.pop("CAMELID_HOME")
            if before is not None:
                os.environ["CAMELID_HOME"] = before


def _of_data(event: Mapping[str, Any]) -> str:
    return (
        f"{event['kept']:,} rows ({event['truncated']:,} of them cut off, {event['dropped']:,} left out), "
        f"{event['heldout']:,} held out; {event['trained_tokens']:,} of {event['total_tokens']:,} tokens are learnt"
    )


def _reloaded(recipe: Recipe, resolved: Any, output: Path) -> Any:
    """The result as plain libraries load it: with peft onto the base, or with transformers alone."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    method = method_of(recipe.method)
    if method.kind == "model":
        return AutoModelForCausalLM.from_pretrained(output, local_files_only=True, dtype=_dtype(recipe))
    with warnings.catch_warnings():  # AdaLoRA stores its ranks where peft expects LoRA's; harmless
        warnings.filterwarnings("ignore", "The following rank_pattern keys did not match", RuntimeWarning)
        return PeftModel.from_pretrained(method.load(resolved, recipe.model.dtype, recipe.method), str(output))


def _dtype(recipe: Recipe) -> str:
    """The dtype that the model is trained in."""
    from camelid_core.models.loading import choose_dtype

    return str(choose_dtype(recipe.model.dtype)).removeprefix("torch.")


def _logits(model: Any) -> Any:
    import torch

    model.eval()
    ids = model.dummy_inputs["input_ids"][:1].to(model.device)
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits[:, -ids.shape[1] :].float().cpu()


def _difference(one: Any, other: Any) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp(min=1.0))
