"""The rules that a tuning method keeps. Knows methods and a tiny model; knows nothing of recipes or jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.plugins import load_host

from camelid_train.methods import Method, MethodContext, TuningMethod

from .section_rules import assert_section
from .written_files import assert_files

_STEPS = 8
_ROWS, _LENGTH = 4, 12
_ROUNDING = 2e-4


def assert_method_contract(
    method: TuningMethod[Any], model: Path, scratch: Path, section: Method | None = None, learning_rate: float = 0.05
) -> None:
    """What Camelid relies on in every tuning method, shown on the model in directory `model`:

    - it has a name that can be typed, a sentence of help, and a section that is chosen by its name;
    - after `prepare` something learns, and all that learns gets a gradient;
    - the loss on a batch falls in a few steps at `learning_rate`, and what is frozen stays as it was;
    - `restore` of what `state` gave changes nothing;
    - where `keeps_base` says so, an adapter that is switched off leaves the base model;
    - what `save` writes runs no code, and loaded anew it computes what the trained model did.

    `scratch` is an empty directory for what it writes.
    """
    import torch

    section = section or assert_section(method, Method)
    resolved = resolve_model(str(model), load_host())
    batch = _batch(resolved)
    context = MethodContext(resolved, "float32", _STEPS, lambda: iter([batch] * _STEPS))
    torch.manual_seed(0)
    loaded = method.load(resolved, "float32", section)
    before = _logits(loaded, batch)
    prepared = method.prepare(loaded, section, context)
    assert prepared is not None, f"{method.name}: prepare gives no model"
    _assert_learns(method, prepared, batch, learning_rate)
    trained = _logits(prepared, batch)
    method.restore(prepared, method.state(prepared))
    again = _logits(prepared, batch)
    assert torch.equal(again, trained), f"{method.name}: restore of what state gave changes what the model computes"
    if method.kind == "adapter" and method.keeps_base(section):
        with prepared.disable_adapter():
            off = _logits(prepared, batch)
        assert torch.allclose(off, before, atol=_ROUNDING), (
            f"{method.name}: with the adapter off the model is not its base; keeps_base has to say False"
        )
    method.save(prepared, section, context, scratch)
    assert_files(method.name, scratch)
    loaded_again = _logits(_load(method, section, resolved, scratch), batch)
    assert torch.allclose(loaded_again, trained, atol=_ROUNDING), (
        f"{method.name}: what was saved does not compute what was trained"
    )


def _batch(resolved: ResolvedModel) -> dict[str, Any]:
    """Random tokens, all of them labelled: what every method can learn by heart."""
    import torch

    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, int(resolved.config["vocab_size"]), (_ROWS, _LENGTH), generator=generator)
    return {"input_ids": ids, "labels": ids.clone()}


def _assert_learns(method: TuningMethod[Any], model: Any, batch: dict[str, Any], learning_rate: float) -> None:
    import torch

    learning = {name: each for name, each in model.named_parameters() if each.requires_grad}
    assert learning, f"{method.name}: nothing learns after prepare; set requires_grad on what does"
    frozen = {name: each.detach().clone() for name, each in model.named_parameters() if not each.requires_grad}
    reached: set[str] = set()
    losses = list(_train(method, model, batch, torch.optim.AdamW(learning.values(), lr=learning_rate), reached))
    idle = sorted(set(learning) - reached)
    assert not idle, f"{method.name}: {idle[0]} is to learn and gets no gradient; freeze it"
    assert losses[-1] < losses[0], (
        f"{method.name}: the loss does not fall in {_STEPS} steps at {learning_rate:g}: {losses[0]:.4g}, "
        f"{losses[-1]:.4g}"
    )
    now = dict(model.named_parameters())
    changed = [name for name, each in frozen.items() if not torch.equal(now[name], each)]
    assert not changed, f"{method.name}: {changed[0]} is frozen, and training changed it"


def _train(method: TuningMethod[Any], model: Any, batch: Any, optimizer: Any, reached: set[str]) -> Iterator[float]:
    """The losses of the steps; `reached` gets the names of all that had a gradient."""
    from camelid_train.loop.loss import label_loss

    model.train()
    labels = batch["labels"][:, 1:].numel()
    for step in range(1, _STEPS + 1):
        loss = label_loss(model, **{name: tensor.to(model.device) for name, tensor in batch.items()}) / labels
        penalty = method.penalty(model)
        (loss if penalty is None else loss + penalty).backward()
        reached |= {name for name, each in model.named_parameters() if each.grad is not None}
        optimizer.step()
        method.after_step(model, step)
        optimizer.zero_grad()
        yield float(loss.detach())


def _logits(model: Any, batch: dict[str, Any]) -> Any:
    import torch

    model.eval()
    with torch.no_grad():
        return model(input_ids=batch["input_ids"].to(model.device), use_cache=False).logits[:, -_LENGTH:].float().cpu()


def _load(method: TuningMethod[Any], section: Method, resolved: ResolvedModel, directory: Path) -> Any:
    """With nothing but peft and Transformers, on the base as this method loads it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    if method.kind == "adapter":
        present = (directory / "adapter_config.json").is_file()
        assert present, f"{method.name}: save writes no adapter_config.json; an adapter is a PEFT directory"
        return PeftModel.from_pretrained(method.load(resolved, "float32", section), str(directory))
    present = (directory / "config.json").is_file()
    assert present, f"{method.name}: save writes no config.json; a model is a Transformers directory"
    return AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
