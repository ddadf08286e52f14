"""Trainer callbacks of plugins: transformers callbacks, none of which can end a run by failing.

Knows the hook `camelid_trainer_callbacks` and transformers' callbacks. Knows nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camelid_core.plugins import Host
    from camelid_core.tasks import TaskContext
    from transformers import TrainerCallback

    from camelid_train.config import Recipe


@dataclass(frozen=True, slots=True)
class LoopCallback:
    """A callback that every run gets while its plugin is installed.

    `make(recipe, context)` gives the transformers callback for a run, or None where it has nothing to do; the context's
    `emit` writes events of its own. Where several processes share a run, each has one; `state.is_world_process_zero`
    tells which is first.
    """

    name: str
    help: str
    make: Callable[[Recipe, TaskContext], TrainerCallback | None]


def add_plugin_callbacks(trainer: Any, recipe: Recipe, context: TaskContext, host: Host) -> None:
    """Add the callbacks of the installed plugins. One that fails is named in the log once, and left out from then
    on."""
    registry = host.registry("camelid_trainer_callbacks")
    for item in registry:
        label = f"Callback {item.name!r} of plugin {registry.plugin_of(item.name)!r}"
        try:
            callback = item.make(recipe, context)
        except (Exception, SystemExit) as error:
            context.emit("log", text=f"{label} could not be made and is left out: {_reason(error)}")
            continue
        if callback is not None:
            trainer.add_callback(guarded(callback, label, context))


def guarded(callback: TrainerCallback, label: str, context: TaskContext) -> TrainerCallback:
    """`callback`, unless and until it raises."""
    from transformers import TrainerCallback

    failed: list[str] = []

    def listener(event: str) -> Callable[..., Any]:
        def call(_: Any, args: Any, state: Any, control: Any, **more: Any) -> Any:
            if failed:
                return None
            try:
                return getattr(callback, event)(args, state, control, **more)
            except (Exception, SystemExit) as error:
                failed.append(event)
                text = f"{label} failed in {event} at step {state.global_step} and is left out from here on: "
                context.emit("log", text=text + _reason(error))
                return None

        return call

    events = [name for name in dir(TrainerCallback) if name.startswith("on_")]
    return type("Guarded", (TrainerCallback,), {event: listener(event) for event in events})()


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0] if str(error) else type(error).__name__
