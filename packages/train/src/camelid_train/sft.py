"""The training task: recipe in, artefact out.

Reads top to bottom as a run goes: data, model, method, loop, artefact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from camelid_core.artefacts import Base, Licences, Manifest, effective_licence, write_manifest
from camelid_core.contract import contract_of
from camelid_core.errors import DataError
from camelid_core.integrity import fingerprint
from camelid_core.loading import choose_device, load_tokenizer
from camelid_core.models import Reference, resolve_model
from camelid_core.plugins import Host, load_host
from camelid_core.rope import RopeScaling, rope_parameters, scaled
from camelid_core.tasks import Interrupted, TaskContext
from camelid_core.tokenizing import Encoder
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from . import checkpoint
from .batching import Collator, LengthBatches, lengths_of
from .config import Recipe
from .data import Prepared, prepare
from .loss import mean_loss
from .methods import Situation, TuningMethod
from .methods.choosing import method_of
from .progress import Progress, RowProgress
from .trainer import SftTrainer


def train(recipe: Recipe, context: TaskContext) -> Mapping[str, Any]:
    """Run `recipe`; the adapter or model lands in `context.output`.

    Raises:
        Interrupted: asked to save and leave.
        CamelidError: the data, the model or the run is not sound.
    """
    host = load_host()
    reference = resolve_model(recipe.model.name, host)
    if reference.peft is not None:
        raise DataError(f"{recipe.model.name!r} is an adapter; merge it first: `camelid merge {recipe.model.name}`.")
    if recipe.model.rope:
        reference = scaled(reference, RopeScaling.parse(recipe.model.rope))
    template = host.templates[recipe.data.template or reference.template]
    tokenizer = load_tokenizer(reference)
    data = prepare(recipe.data, Encoder(tokenizer, template), host, RowProgress(context))
    _report(context, data)

    set_seed(recipe.train.seed)
    method = method_of(recipe.method)
    situation = _situation(recipe, reference, data, tokenizer.pad_token_id)
    model = method.load(reference, recipe.model.dtype, recipe.method)
    model = method.prepare(model, recipe.method, situation)
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    context.emit("model", method=method.name, trainable_parameters=learning, all_parameters=model.num_parameters())
    resume = checkpoint.newest_valid(directory / "checkpoints" for directory in context.earlier)
    trainer, progress = _trainer(recipe, context, method, model, data, tokenizer.pad_token_id, resume)
    metrics = _run(trainer, progress, context, data, resume)

    method.save(model, recipe.method, situation, context.output)
    tokenizer.save_pretrained(context.output)
    contract = contract_of(template, tokenizer, reference.template if recipe.data.template else "")
    (context.output / "chat_template.jinja").write_text(contract.jinja, encoding="utf-8")
    manifest = _manifest(recipe, reference, data, metrics, host)
    manifest = manifest.model_copy(update={"kind": method.kind, "template": contract})
    write_manifest(context.output, manifest)
    return metrics


def _report(context: TaskContext, data: Prepared) -> None:
    account = data.account
    context.emit(
        "data",
        rows=account.rows,
        kept=len(data.train),
        truncated=account.truncated,
        dropped=account.dropped,
        total_tokens=account.total_tokens,
        trained_tokens=account.trained_tokens,
        heldout=len(data.heldout),
        sources=data.mixture,
    )


def _situation(recipe: Recipe, reference: Reference, data: Prepared, pad_id: int) -> Situation:
    train = recipe.train
    order = LengthBatches(lengths_of(data.train), train.batch_size, train.seed)
    collate = Collator(pad_id)

    def batches() -> Iterator[dict[str, Any]]:
        return (collate([data.train[index] for index in indices]) for indices in order)

    steps = train.max_steps or math.ceil(train.epochs * math.ceil(len(order) / train.accumulation))
    return Situation(reference, recipe.model.dtype, steps, batches)


def _trainer(
    recipe: Recipe,
    context: TaskContext,
    method: TuningMethod[Any],
    model: Any,
    data: Prepared,
    pad_id: int,
    resume: Path | None,
) -> tuple[SftTrainer, Progress]:
    arguments = _arguments(recipe, context.directory / "checkpoints")
    trainer = SftTrainer(model, arguments, data.train, pad_id, method)
    if resume is not None:
        trainer.tally = checkpoint.load_tally(resume)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)

    def evaluate() -> float:
        return mean_loss(model, data.heldout, pad_id, recipe.eval.batch_size)

    progress = Progress(context, trainer.tally, evaluate, recipe.eval.steps if data.heldout else None)
    trainer.add_callback(progress)
    return trainer, progress


def _arguments(recipe: Recipe, directory: Path) -> TrainingArguments:
    train = recipe.train
    return TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=train.batch_size,
        gradient_accumulation_steps=train.accumulation,
        learning_rate=train.learning_rate,
        lr_scheduler_type=train.schedule,
        warmup_steps=train.warmup,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        seed=train.seed,
        logging_steps=train.log_steps,
        logging_nan_inf_filter=False,
        logging_first_step=True,
        save_strategy="steps",
        save_steps=train.save_steps,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=choose_device() == "cpu",
    )


def _run(
    trainer: SftTrainer, progress: Progress, context: TaskContext, data: Prepared, resume: Path | None
) -> dict[str, Any]:
    """The loop between two measurements of the held-out loss."""
    tally = trainer.tally
    if data.heldout and resume is None:
        tally.base_eval_loss = progress.evaluate()
        context.emit("eval", step=0, loss=tally.base_eval_loss)
    if resume is not None:
        context.emit("log", text=f"Resuming from {resume.name}.")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if progress.stopped == "save":
        raise Interrupted
    step, metrics = trainer.state.global_step, {}
    if data.heldout:
        metrics = {"base_eval_loss": tally.base_eval_loss, "eval_loss": progress.evaluate()}
        context.emit("eval", step=step, loss=metrics["eval_loss"])
    return {
        **metrics,
        "final_loss": progress.last_loss,
        "steps": step,
        "trained_tokens": tally.trained_tokens,
        "total_tokens": tally.total_tokens,
        "seconds": round(tally.seconds, 2),
        "tokens_per_second": tally.tokens_per_second,
    }


def _manifest(recipe: Recipe, reference: Reference, data: Prepared, metrics: dict[str, Any], host: Host) -> Manifest:
    licences = {"base": reference.licence, **{use.id: use.licence for use in data.datasets}}
    return Manifest(
        kind="adapter",
        base=Base(
            id=reference.base_id,
            path=str(reference.base),
            revision=recipe.model.revision,
            fingerprint=fingerprint(reference.base),
            model_type=str(reference.config.get("model_type", "")),
        ),
        datasets=data.datasets,
        parameters=recipe.model_dump(mode="json"),
        rope_scaling=rope_parameters(reference.config),
        licences=Licences(
            base=reference.licence,
            data=sorted({use.licence for use in data.datasets}),
            effective=effective_licence(licences),
        ),
        plugins={plugin.name: plugin.version for plugin in host.plugins},
        metrics=metrics,
    )
