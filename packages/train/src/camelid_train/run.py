"""The training task (fine-tuning): recipe in, artefact out.

Reads top to bottom as a run goes: data, base model, tuning method, training loop, artefact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from camelid_core.artefacts import BaseModelEntry, Licences, Manifest, write_manifest
from camelid_core.integrity import fingerprint
from camelid_core.models.loading import choose_device, choose_dtype
from camelid_core.models.plugin_versions import plugin_notes
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.revisions import hub_commit
from camelid_core.models.rope import rope_parameters
from camelid_core.plugins import Host, load_host
from camelid_core.tasks import Interrupted, TaskContext
from camelid_core.template_contract import make_contract
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from .config import Recipe
from .data import PreparedData
from .distributed import agreement, group, sharded_state, strategies
from .loop import acceleration
from .loop.batches import Collator, StepBatches, lengths_of
from .methods import MethodContext
from .methods.expert_notes import expert_notes
from .methods.registry import method_of
from .monitoring import callbacks
from .monitoring.evaluation import PeriodicEvaluation
from .monitoring.flops import mfu_per_token_rate
from .monitoring.heldout_rows import HeldOutRows, write_rows
from .monitoring.nan_guard import NanGuard
from .monitoring.progress import ProgressReporter, RowProgress
from .monitoring.samples import SampleAnswers
from .monitoring.stop_rules import StopRules, raise_if_stop_requested
from .objectives import LearningObjective, TrainingRun
from .objectives.registry import objective_of
from .objectives.steps import steps_of
from .preflight.report import Preflight, report_micro_batches
from .provenance.origin import origin
from .run_preparation import prepare_run
from .saving import checkpoint
from .saving.disk_space import removed_on_failure
from .saving.model_card import write_card
from .saving.published_prompting import unstoppable_note, write_older_rope_keys, write_prompting
from .saving.retention import (
    CHECKPOINT_DIRECTORY,
    CheckpointEvents,
    CheckpointRetention,
    earlier_checkpoints,
    find_resume_checkpoint,
    is_finished,
    load_best_weights,
    resume_identity,
)


def train(
    recipe: Recipe, context: TaskContext, on_trained: Callable[[Any], object] = lambda model: None
) -> Mapping[str, Any]:
    """Run `recipe`; the adapter or model lands in `context.output`. `on_trained` gets the model before it is written.

    Raises:
        Interrupted: a stop with saving was requested.
        CamelidError: the data, the model or the run is not sound.
    """
    host = load_host()
    objective = objective_of(recipe.objective)
    ready = prepare_run(recipe, host, RowProgress(context), agreement.local_main_process_first())
    resolved, template, data, tokenizer = ready.resolved, ready.template, ready.data, ready.encoder.tokenizer
    _emit_data(context, data)
    for note in plugin_notes(resolved, host):
        context.emit("log", text=note)
    if note := unstoppable_note(ready.encoder):
        context.emit("log", text=note)
    agreement.report_global_batch(recipe, context)
    contract = make_contract(template, tokenizer, resolved.template if recipe.data.template else "")
    context.emit("origin", **origin(recipe, resolved, contract, data.datasets, host))

    raise_if_stop_requested(context)
    set_seed(recipe.train.seed)
    method = method_of(recipe.method)
    method_context = _method_context(recipe, resolved, data, tokenizer.pad_token_id)
    model = method.load(resolved, recipe.model.dtype, recipe.method)
    model = method.prepare(model, recipe.method, method_context)
    for note in expert_notes(model, recipe.method):
        context.emit("log", text=note)
    acceleration.prepare(model, recipe.train)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    context.emit("model", method=method.name, trainable_parameters=trainable, all_parameters=model.num_parameters())
    identity = resume_identity(resolved, data)
    resume = agreement.agreed_checkpoint(lambda: find_resume_checkpoint(context, identity), context)
    context.emit("resume", step=checkpoint.progress_of(resume)[0] if resume else 0)
    weights = model.get_input_embeddings().weight.dtype
    precision = acceleration.arguments(choose_dtype(recipe.model.dtype), weights, choose_device())
    arguments = partial(_training_arguments, recipe, context.directory / CHECKPOINT_DIRECTORY, **precision)
    stop = partial(raise_if_stop_requested, context)
    run = TrainingRun(recipe, method, model, data, ready.encoder, arguments, stop, resolved.adapter)
    run.raise_if_interrupted()
    trainer, progress, rules, rows = _make_trainer(run, objective, context, resume)
    trainer.retention = CheckpointRetention(
        recipe.train.keep, recipe.train.best, earlier_checkpoints(context), identity
    )
    metrics = _train_and_evaluate(run, trainer, progress, rules, resume)
    estimates, losses = rows.figures(metrics["eval_loss"]) if run.data.heldout else ({}, [])
    metrics |= estimates

    sharded_state.unshard(model)
    if not group.current_world().is_local_main_process:
        return metrics
    checkpoint.require_finite(model)
    on_trained(model)
    with removed_on_failure(context.output):
        method.save(model, recipe.method, method_context, context.output)
        write_prompting(context.output, resolved.base, resolved.config, ready.encoder, contract.jinja)
        manifest = _manifest(recipe, resolved, data, metrics, host)
        manifest = manifest.model_copy(update={"kind": method.kind, "template": contract})
        write_older_rope_keys(context.output)
        write_rows(context.output, data.heldout, losses)
        write_card(context.output, manifest, host)
        write_manifest(context.output, manifest)
    return metrics


def _emit_data(context: TaskContext, data: PreparedData) -> None:
    account = data.account
    context.emit(
        "data",
        rows=account.rows,
        kept=account.kept,
        truncated=account.truncated,
        dropped=account.dropped + account.refused,
        total_tokens=account.total_tokens,
        trained_tokens=account.trained_tokens,
        heldout=len(data.heldout),
        sources=data.mixture,
    )
    for note in data.notes:
        context.emit("log", text=note)


def _method_context(recipe: Recipe, resolved: ResolvedModel, data: PreparedData, pad_id: int) -> MethodContext:
    train = recipe.train
    order = StepBatches(lengths_of(data.train), train.batch_size, train.seed)
    collate = Collator(pad_id)

    def batches() -> Iterator[dict[str, Any]]:
        return (collate([data.train[index] for index in indices]) for indices in order)

    steps, *_ = steps_of(recipe, len(data.train), group.current_world().size)
    return MethodContext(resolved, recipe.model.dtype, steps, batches)


def _make_trainer(
    run: TrainingRun, objective: LearningObjective[Any], context: TaskContext, resume: Path | None
) -> tuple[Any, ProgressReporter, StopRules, HeldOutRows]:
    """The objective's trainer, resuming from `resume`, with the callbacks that report progress and that stop it, and
    what measures the held-out loss."""
    section = run.recipe.objective
    trainer = objective.trainer(section, run)
    if resume is not None:
        trainer.totals = checkpoint.load_totals(resume)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    report_micro_batches(trainer, context, run)
    if run.recipe.train.preflight:
        trainer.add_callback(Preflight(context, run, trainer))

    rows = HeldOutRows(
        context, lambda: objective.heldout_loss(section, run, trainer), run.row_losses, resume is not None
    )
    settings, totals = run.recipe.eval, trainer.totals
    every = settings.steps if run.data.heldout else None
    samples = SampleAnswers(context, run.model, run.encoder, run.data.records, settings.samples, settings.sample_tokens)
    evaluations = PeriodicEvaluation(
        context, totals, rows.measure, every, settings.patience, run.recipe.train.best, samples
    )
    progress = ProgressReporter(context, totals, evaluations, objective.extra_metrics)
    rules = StopRules(context, totals, run.recipe.train.stop_at_loss)
    agreement.attach(trainer, run.recipe.train.seed, context)
    for callback in (NanGuard(context, trainer, run.data.origin), progress, rules, CheckpointEvents(context)):
        trainer.add_callback(callback)
    callbacks.add_plugin_callbacks(trainer, run.recipe, context, load_host())
    account, lengths = run.data.account, lengths_of(run.data.train)
    labels = round(sum(lengths) * account.trained_tokens / max(account.total_tokens, 1))
    progress.mfu_per_token_rate = mfu_per_token_rate(
        run.model, lengths, labels, trainer.args.world_size, acceleration.autocast_dtype(trainer.args)
    )
    return trainer, progress, rules, rows


def _training_arguments(
    recipe: Recipe, directory: Path, kind: type[TrainingArguments] = TrainingArguments, **own: Any
) -> TrainingArguments:
    """The recipe as TrainingArguments; a trainer with its own `kind` of arguments has more of its `own`."""
    train = recipe.train
    made = kind(
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
        **strategies.arguments(recipe.launch),
        **own,
    )
    # Left alone, Transformers has one process use every GPU through DataParallel, whose copies of the model keep
    # forwards that are bound to the first GPU's. More GPUs are more processes (launch.processes).
    made._n_gpu = min(made.n_gpu, 1)
    return made


def _train_and_evaluate(
    run: TrainingRun, trainer: Any, progress: ProgressReporter, rules: StopRules, resume: Path | None
) -> dict[str, Any]:
    """The training loop between two measurements of the held-out loss."""
    evaluations, totals, metrics = progress.evaluations, trainer.totals, {}
    if run.data.heldout and resume is None:
        evaluations.evaluate_before_training()
    _train_loop(trainer, evaluations, resume)
    if rules.request == "save":
        raise Interrupted
    step = trainer.state.global_step
    if run.data.heldout:
        if totals.measured != step:
            evaluations.evaluate(step)
        best = run.recipe.train.best and load_best_weights(trainer, rules.context, step)
        loss = totals.best_loss if best else totals.eval_loss
        metrics = {"base_eval_loss": totals.base_eval_loss, "eval_loss": loss, "best_step": totals.best_step}
        metrics["heldout_rows"] = len(run.data.heldout)
    return {
        **metrics,
        "final_loss": totals.last_loss,
        "stopped": totals.stopped,
        "steps": step,
        "trained_tokens": totals.trained_tokens,
        "total_tokens": totals.total_tokens,
        "seconds": round(totals.seconds, 2),
        **progress.rates(),
    }


def _train_loop(trainer: Any, evaluations: PeriodicEvaluation, resume: Path | None) -> None:
    """Train from step 1 or from `resume`, or not at all if only publishing is left to do."""
    if resume is None:
        trainer.train()
        return
    step, last = checkpoint.progress_of(resume)
    missing = not trainer.totals.stopped and evaluations.due(step, last)
    if missing or is_finished(resume):
        trainer._load_from_checkpoint(str(resume))
    if missing:
        evaluations.evaluate_and_decide(step)
    if trainer.totals.stopped or step >= last:
        trainer.state.global_step = step
    else:
        trainer.train(resume_from_checkpoint=str(resume))


def _manifest(
    recipe: Recipe, resolved: ResolvedModel, data: PreparedData, metrics: dict[str, Any], host: Host
) -> Manifest:
    return Manifest(
        kind="adapter",
        base=BaseModelEntry(
            id=resolved.base_id,
            path=str(resolved.base),
            revision=hub_commit(resolved.base),
            fingerprint=fingerprint(resolved.base),
            model_type=str(resolved.config.get("model_type", "")),
        ),
        datasets=data.datasets,
        parameters=recipe.model_dump(mode="json"),
        rope_scaling=rope_parameters(resolved.config),
        licences=Licences.of(resolved.licence, data.datasets, resolved.generator),
        plugins={plugin.name: plugin.version for plugin in host.plugins},
        metrics=metrics,
    )
