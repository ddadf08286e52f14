"""The training task: recipe in, artefact out.

Reads top to bottom as a run goes: data, model, method, loop, artefact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from camelid_core.artefacts import BaseModelEntry, Licences, Manifest, effective_licence, write_manifest
from camelid_core.errors import DataError
from camelid_core.integrity import fingerprint
from camelid_core.models.loading import choose_device, choose_dtype, load_tokenizer, scaled
from camelid_core.models.reference import Reference, resolve_model
from camelid_core.models.revisions import commit_of, require_commit
from camelid_core.models.rope import RopeScaling, rope_parameters
from camelid_core.plugins import Host, load_host
from camelid_core.tasks import Interrupted, TaskContext
from camelid_core.template_contract import make_contract
from camelid_core.tokenization.encoder import Encoder
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from .config import Recipe
from .data import PreparedData, check_vocabulary
from .distributed import agreement, group, sharded_state, strategies
from .loop import acceleration
from .loop.batches import Collator, StepBatches, lengths_of
from .methods import MethodContext
from .methods.registry import method_of
from .monitoring import callbacks
from .monitoring.evaluation import Evaluations, check_data
from .monitoring.flops import usage
from .monitoring.nan_guard import Guard
from .monitoring.progress import Progress, RowProgress
from .monitoring.samples import Samples
from .monitoring.stop_rules import StopRules, leave_if_asked
from .objectives import LearningObjective, TrainingRun
from .objectives.registry import objective_of
from .objectives.steps import steps_of
from .preflight.report import Preflight, listen
from .provenance.origin import origin
from .recipe_checks import check_settings
from .saving import checkpoint
from .saving.disk_space import removed_on_failure
from .saving.retention import (
    DIRECTORY,
    CheckpointRetention,
    CheckpointEvents,
    earlier_checkpoints,
    resume_identity,
    is_finished,
    load_best_weights,
    find_resume_checkpoint,
)


def train(
    recipe: Recipe, context: TaskContext, look: Callable[[Any], object] = lambda model: None
) -> Mapping[str, Any]:
    """TrainingRun `recipe`; the adapter or model lands in `context.output`. `look` sees the model before it is written.

    Raises:
        Interrupted: asked to save and leave.
        CamelidError: the data, the model or the run is not sound.
    """
    host = load_host()
    objective = objective_of(recipe.objective)
    check_settings(recipe)
    reference = _base(recipe, host)
    template = host.templates[recipe.data.template or reference.template]
    tokenizer = load_tokenizer(reference)
    encoder = Encoder(tokenizer, template)
    check_vocabulary(encoder, reference)
    with agreement.local_main_process_first():
        data = objective.prepare(recipe.objective, recipe.data, encoder, host, RowProgress(context))
    _report(context, data)
    check_data(recipe, data)
    agreement.tell(recipe, context)
    contract = make_contract(template, tokenizer, reference.template if recipe.data.template else "")
    context.emit("origin", **origin(recipe, reference, contract, data.datasets, host))

    leave_if_asked(context)
    set_seed(recipe.train.seed)
    method = method_of(recipe.method)
    method_context = _method_context(recipe, reference, data, tokenizer.pad_token_id)
    model = method.load(reference, recipe.model.dtype, recipe.method)
    model = method.prepare(model, recipe.method, method_context)
    acceleration.prepare(model, recipe.train)
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    context.emit("model", method=method.name, trainable_parameters=learning, all_parameters=model.num_parameters())
    identity = resume_identity(reference, data)
    resume = agreement.agreed_checkpoint(lambda: find_resume_checkpoint(context, identity), context)
    context.emit("resume", step=checkpoint.progress_of(resume)[0] if resume else 0)
    weights = model.get_input_embeddings().weight.dtype
    fast = acceleration.arguments(choose_dtype(recipe.model.dtype), weights, choose_device())
    arguments = partial(_arguments, recipe, context.directory / DIRECTORY, **fast)
    run = TrainingRun(recipe, method, model, data, encoder, arguments, partial(leave_if_asked, context))
    run.raise_if_interrupted()
    trainer, progress, rules = _trainer(run, objective, context, resume)
    trainer.keeping = CheckpointRetention(recipe.train.keep, recipe.train.best, earlier_checkpoints(context), identity)
    metrics = _run(run, trainer, progress, rules, resume)

    sharded_state.make_whole(model)
    if not group.joined().is_local_main_process:
        return metrics
    checkpoint.require_finite(model)
    look(model)
    with removed_on_failure(context.output):
        method.save(model, recipe.method, method_context, context.output)
        tokenizer.save_pretrained(context.output)
        (context.output / "chat_template.jinja").write_text(contract.jinja, encoding="utf-8")
        manifest = _manifest(recipe, reference, data, metrics, host)
        manifest = manifest.model_copy(update={"kind": method.kind, "template": contract})
        write_manifest(context.output, manifest)
    return metrics


def _base(recipe: Recipe, host: Host) -> Reference:
    """The model to start from, its context stretched if that is asked."""
    reference = resolve_model(recipe.model.name, host, gguf=False)
    if reference.peft is not None:
        raise DataError(f"{recipe.model.name!r} is an adapter; merge it first: `camelid merge {recipe.model.name}`.")
    if recipe.model.revision:
        require_commit(reference.base, recipe.model.revision)
    if recipe.model.rope:
        return scaled(reference, RopeScaling.parse(recipe.model.rope))
    return reference


def _report(context: TaskContext, data: PreparedData) -> None:
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
    for note in data.notes:
        context.emit("log", text=note)


def _method_context(recipe: Recipe, reference: Reference, data: PreparedData, pad_id: int) -> MethodContext:
    train = recipe.train
    order = StepBatches(lengths_of(data.train), train.batch_size, train.seed)
    collate = Collator(pad_id)

    def batches() -> Iterator[dict[str, Any]]:
        return (collate([data.train[index] for index in indices]) for indices in order)

    steps, *_ = steps_of(recipe, len(data.train), group.joined().size)
    return MethodContext(reference, recipe.model.dtype, steps, batches)


def _trainer(
    run: TrainingRun, objective: LearningObjective[Any], context: TaskContext, resume: Path | None
) -> tuple[Any, Progress, StopRules]:
    """The objective's trainer, going on from `resume`, what it tells, and what ends it."""
    section = run.recipe.objective
    trainer = objective.trainer(section, run)
    if resume is not None:
        trainer.tally = checkpoint.load_totals(resume)
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    listen(trainer, context, run)
    if run.recipe.train.preflight:
        trainer.add_callback(Preflight(context, run, trainer))

    def evaluate() -> float:
        return objective.heldout_loss(section, run, trainer)

    settings, tally = run.recipe.eval, trainer.tally
    every = settings.steps if run.data.heldout else None
    samples = Samples(context, run.model, run.encoder, run.data.records, settings.samples, settings.sample_tokens)
    evaluations = Evaluations(context, tally, evaluate, every, settings.patience, run.recipe.train.best, samples)
    progress = Progress(context, tally, evaluations, objective.extra_metrics)
    rules = StopRules(context, tally, run.recipe.train.stop_at_loss)
    agreement.attach(trainer, run.recipe.train.seed)
    for callback in (Guard(context, trainer, run.data.origin), progress, rules, CheckpointEvents(context)):
        trainer.add_callback(callback)
    callbacks.attach(trainer, run.recipe, context, load_host())
    account, lengths = run.data.account, lengths_of(run.data.train)
    labels = round(sum(lengths) * account.trained_tokens / max(account.total_tokens, 1))
    progress.usage = usage(run.model, lengths, labels, trainer.args.world_size, acceleration.computed(trainer.args))
    return trainer, progress, rules


def _arguments(
    recipe: Recipe, directory: Path, kind: type[TrainingArguments] = TrainingArguments, **own: Any
) -> TrainingArguments:
    """What the recipe comes to; a trainer of its own `kind` of arguments has more of its `own`."""
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
    # Left alone, Transformers has one process use every card through DataParallel, whose copies of the model keep
    # forwards that are bound to the first card's. More cards are more processes (launch.processes).
    made._n_gpu = min(made.n_gpu, 1)
    return made


def _run(run: TrainingRun, trainer: Any, progress: Progress, rules: StopRules, resume: Path | None) -> dict[str, Any]:
    """The loop between two measurements of the held-out loss."""
    evaluations, tally, metrics = progress.evaluations, trainer.tally, {}
    if run.data.heldout and resume is None:
        evaluations.before()
    _loop(trainer, evaluations, resume)
    if rules.asked == "save":
        raise Interrupted
    step = trainer.state.global_step
    if run.data.heldout:
        if tally.measured != step:
            evaluations.measure(step)
        best = run.recipe.train.best and load_best_weights(trainer, rules.context, step)
        loss = tally.best_loss if best else tally.eval_loss
        metrics = {"base_eval_loss": tally.base_eval_loss, "eval_loss": loss, "best_step": tally.best_step}
    return {
        **metrics,
        "final_loss": tally.last_loss,
        "stopped": tally.stopped,
        "steps": step,
        "trained_tokens": tally.trained_tokens,
        "total_tokens": tally.total_tokens,
        "seconds": round(tally.seconds, 2),
        **progress.rates(),
    }


def _loop(trainer: Any, evaluations: Evaluations, resume: Path | None) -> None:
    """Train from the beginning or from `resume`, or not at all if only publishing is left to do."""
    if resume is None:
        trainer.train()
        return
    step, last = checkpoint.progress_of(resume)
    missing = not trainer.tally.stopped and evaluations.due(step, last)
    if missing or is_finished(resume):
        trainer._load_from_checkpoint(str(resume))
    if missing:
        evaluations.turn(step)
    if trainer.tally.stopped or step >= last:
        trainer.state.global_step = step
    else:
        trainer.train(resume_from_checkpoint=str(resume))


def _manifest(
    recipe: Recipe, reference: Reference, data: PreparedData, metrics: dict[str, Any], host: Host
) -> Manifest:
    licences = {"base": reference.licence, **{use.id: use.licence for use in data.datasets}}
    return Manifest(
        kind="adapter",
        base=BaseModelEntry(
            id=reference.base_id,
            path=str(reference.base),
            revision=commit_of(reference.base),
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
