"""The context task: perplexity by context length over a sliding window, of several models at once.

Knows windows and losses. Knows nothing of templates: texts are tokenised as they are.

The same tokens are predicted at every length, and none of them twice, so that curves can be compared point by point.
At each of `windows` places the last `stride` tokens of a window are predicted, the window being the `length` tokens
that end there: the sliding-window evaluation of Press et al. 2022 (ALiBi, arXiv:2108.12409), which Chen et al. 2023
(position interpolation, arXiv:2306.15595, section 3.2) use too, with windows that reach back from fixed places. Every
predicted token thus has at least `length - stride` tokens before it. A model that can use its context gets better with
the length; one beyond its context length gets worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from camelid_core.errors import DataError, ModelError
from camelid_core.models.loading import load_tokenizer, load_with_adapter
from camelid_core.plugins import load_host
from camelid_core.statistics import Difference, Estimate
from camelid_core.statistics.holm import corrected
from camelid_core.statistics.scores import difference_of_sums, estimate_of_sums
from camelid_core.tasks import Interrupted, TaskContext

from camelid_serve.predict.batch_answers import TaskProgress
from camelid_serve.predict.work_log import WorkLog

from .long_context_config import ContextConfig
from .long_texts import WindowEnd, bos_ids, long_texts, tokenize, window, window_ends
from .model_variants import Variant, variants
from .plots import context_figure
from .result_files import work_identity, write_results

WORK = "context.work.jsonl"
_TOKENS_PER_PASS = 2048
"""Tokens in one forward pass, where several windows fit in that."""
_LOGITS_PER_PASS = 512
"""Tokens whose logits are kept in one forward pass, where several windows have that few."""


@dataclass(frozen=True, slots=True)
class _WindowBatch:
    """Windows of one length that one model evaluates in one forward pass; the work log has a result for each batch."""

    number: int
    variant: int
    length: int
    ends: tuple[WindowEnd, ...]

    @property
    def tokens(self) -> int:
        return self.length * len(self.ends)


@dataclass(frozen=True, slots=True)
class _TokenizedTexts:
    """Token ids of the texts; `bos` comes before each window."""

    texts: Sequence[Sequence[int]]
    bos: Sequence[int]
    stride: int

    def windows(self, batch: _WindowBatch) -> Any:
        import torch

        return torch.tensor([window(self.texts, end, batch.length, self.bos) for end in batch.ends])


def run(config: ContextConfig, context: TaskContext) -> Mapping[str, Any]:
    """Measure, and write results, plot and manifest to `context.output`.

    Raises:
        DataError: no text, none as long as the longest context length, or models whose tokens differ.
        ModelError: a model with a position table shorter than the longest context length.
        Interrupted: asked to save; what was measured is kept for the next attempt.
    """

    def log(text: str) -> None:
        context.emit("log", text=text)

    compared = variants(config.models, config.rope, load_host(), log)
    longest, stride = config.lengths[-1], config.stride
    texts, dataset = long_texts(config.text, longest, config.windows * stride, config.seed)
    tokenized = _tokenize_texts(compared, texts, stride)
    ends = window_ends(tokenized.texts, longest, stride, config.windows)
    log(f"{len(ends) * stride:,} tokens of {dataset.id} are predicted, {stride} at each of {len(ends)} places.")
    batches = list(_batches(len(compared), config.lengths, ends, stride))
    with WorkLog(
        WORK, work_identity(config, compared, dataset.sha256), context.directory, context.earlier_attempts
    ) as work:
        total, done = sum(b.tokens for b in batches), sum(b.tokens for b in batches if b.number in work.done)
        progress = TaskProgress(context, total, done, unit="tokens")
        progress.emit()
        for number, variant in enumerate(compared):
            pending = [batch for batch in batches if batch.variant == number and batch.number not in work.done]
            if pending and not _measure(variant, pending, tokenized, config, context, work, progress):
                break
        curves = [_curve(number, batches, work.done, config.lengths, stride) for number in range(len(compared))]
    _compared(curves, stride)
    if not any(point["loss"] is not None for curve in curves for point in curve):
        raise DataError("the evaluation was asked to finish before a length was measured.")
    results = {
        "evaluation": "context",
        "text": dataset.id,
        "lengths": config.lengths,
        "tokens": len(ends) * stride,
        "stride": stride,
        "variants": [variant.as_json() | {"points": curve} for variant, curve in zip(compared, curves, strict=True)],
    }
    metrics = _metrics(compared, curves, progress)
    write_results(context, config, compared, results, metrics, context_figure, dataset)
    return metrics


def _tokenize_texts(compared: Sequence[Variant], texts: Sequence[str], stride: int) -> _TokenizedTexts:
    """The texts' token ids, which must be the same for all models: perplexities per token compare only then."""
    first, *others = {variant.model: variant for variant in compared}.values()
    tokenizer = load_tokenizer(first.resolved)
    tokenized = _TokenizedTexts(tokenize(tokenizer, texts), bos_ids(tokenizer), stride)
    for other in others:
        if tokenize(load_tokenizer(other.resolved), texts) != tokenized.texts:
            raise DataError(
                f"{first.label} and {other.label} cut texts into different tokens, so their perplexities cannot be "
                "compared; evaluate them one at a time."
            )
    return tokenized


def _batches(count: int, lengths: Sequence[int], ends: Sequence[WindowEnd], stride: int) -> Iterator[_WindowBatch]:
    number = 0
    for variant in range(count):
        for length in lengths:  # ascending: a length that is too long fails last, and shorter ones are recorded
            size = max(1, min(_TOKENS_PER_PASS // length, _LOGITS_PER_PASS // stride))
            for start in range(0, len(ends), size):
                yield _WindowBatch(number, variant, length, tuple(ends[start : start + size]))
                number += 1


def _measure(
    variant: Variant,
    batches: Sequence[_WindowBatch],
    tokenized: _TokenizedTexts,
    config: ContextConfig,
    context: TaskContext,
    work: WorkLog,
    progress: TaskProgress,
) -> bool:
    """Compute the loss of every batch under one model; False if asked to finish."""
    import torch

    from camelid_serve.engines.logprobs import token_losses

    context.emit("log", text=f"Loading {variant.label}")
    with progress.paused():
        model = load_with_adapter(variant.resolved, config.dtype).eval()
    _check_position_table(model, variant, config.lengths[-1])
    with torch.inference_mode():
        for batch in batches:
            stop = context.stop_requested()
            if stop == "save":
                raise Interrupted
            if stop == "finish":
                return False
            losses = token_losses(model, tokenized.windows(batch), tokenized.stride).cpu().double()
            work.add(batch.number, {"costs": losses.sum(-1).tolist()})
            progress.advance(batch.tokens, batch.tokens)
    return True


def _check_position_table(model: Any, variant: Variant, longest: int) -> None:
    from camelid_serve.engines.positions import table_length

    rows = table_length(model)
    if rows is not None and longest > rows:
        raise ModelError(
            f"{variant.label} has a table of {rows:,} positions and cannot be evaluated at {longest:,}; "
            f"take lengths up to {rows:,}."
        )


def _curve(
    variant: int,
    batches: Sequence[_WindowBatch],
    done: Mapping[int, Mapping[str, Any]],
    lengths: Sequence[int],
    stride: int,
) -> list[dict[str, Any]]:
    """Loss and perplexity at each length; None where not every window was measured, or where it is not finite."""
    curve: list[dict[str, Any]] = []
    for length in lengths:
        own = [batch for batch in batches if batch.variant == variant and batch.length == length]
        costs = [cost for batch in own if batch.number in done for cost in done[batch.number]["costs"]]
        known = all(batch.number in done for batch in own) and math.isfinite(math.fsum(costs))
        loss = _mean_loss(costs, stride) if known else None
        curve.append({"length": length, "loss": None, "perplexity": None, "costs": costs if known else []})
        if loss is not None:
            whole = loss.exponential()
            curve[-1] |= {"loss": loss.mean, "perplexity": whole.mean, "estimate": whole.as_json()}
    return curve


def _mean_loss(costs: Sequence[float], stride: int) -> Estimate:
    """Mean loss per token; the tokens of one window are a cluster."""
    if len(costs) < 2:
        return Estimate(math.fsum(costs) / (len(costs) * stride), None, None, len(costs) * stride, len(costs))
    return estimate_of_sums(costs, [stride] * len(costs))


def _compared(curves: Sequence[list[dict[str, Any]]], stride: int) -> None:
    """Add to each point the paired difference of its loss from the first variant's at that length, corrected over all
    of them; take away the windows' own costs."""
    found: list[tuple[dict[str, Any], Difference]] = []
    for curve in curves[1:]:
        for point, first in zip(curve, curves[0], strict=True):
            if len(point["costs"]) == len(first["costs"]) > 1:
                found.append(
                    (point, difference_of_sums(point["costs"], first["costs"], [stride] * len(first["costs"])))
                )
    for (point, _), each in zip(found, corrected([each for _, each in found]), strict=True):
        point["difference"] = each.as_json()
    for curve in curves:
        for point in curve:
            del point["costs"]


def _metrics(
    compared: Sequence[Variant], curves: Sequence[Sequence[Mapping[str, Any]]], progress: TaskProgress
) -> dict[str, Any]:
    """Perplexity of each at the longest context length, its difference in loss from the first, and the speed."""
    pairs = list(zip(compared, curves, strict=True))
    last = {f"perplexity {variant.label}": curve[-1].get("estimate") for variant, curve in pairs}
    more = {
        f"loss difference {variant.label}": curve[-1]["difference"]
        for variant, curve in pairs
        if "difference" in curve[-1]
    }
    return {**last, **more, "seconds": round(progress.seconds, 2), "tokens_per_second": progress.tokens_per_second}
