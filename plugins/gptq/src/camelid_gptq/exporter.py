"""Exporting to GPTQ: one quantised model, or one folder for each of several recipes.

Knows what an export to GPTQ takes and in what order its branches are made. Knows nothing of GPTQModel. Imports no
torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camelid_core.integrity import fingerprint
from camelid_core.models.resolved_model import ResolvedModel
from camelid_core.models.vocabulary import is_table
from camelid_core.models.weight_files import WeightFiles
from camelid_train.export.calibration_data import calibration_data, without_training_data
from camelid_train.export.exporter import ExportContext, Exporter, ExportEstimate, ExportResult
from camelid_train.sections import OWN

from .own_rows import own_tokens, rows_that_fit, shortage
from .packed_size import Shapes, layer_of, odd_columns, packed_size, quantised_matrices, unpackable
from .quantiser import GptqmodelProcess, missing_library
from .section import GptqSection
from .sentences import odd_note

if TYPE_CHECKING:
    from .branches import Work

_BRANCHES, _SCRATCH = "branches", "scratch"
_HALF, _FLOAT = 2, 4
_ROWS, _SEQLEN = (GptqSection.model_fields[name].default for name in ("rows", "seqlen"))
_OFFERED: tuple[Mapping[str, Any], ...] = (
    {"bits": 4, "group_size": 128},
    {"bits": 4, "group_size": 32, "desc_act": True},
    {"bits": 8, "group_size": 128},
)
"""What a page offers; all other recipes are typed."""
_LIBRARY = 900_000_000
"""Memory of a process that has imported GPTQModel."""


class GptqExporter(Exporter[GptqSection]):
    name = "gptq"
    help = "2, 3, 4 or 8 bits, calibrated; for GPTQModel, Transformers, vLLM and ExLlama."
    config = GptqSection
    kind = "gptq"

    def estimate(self, source: ResolvedModel, section: GptqSection) -> ExportEstimate:
        files = WeightFiles(source.base)
        shapes = {name: files.shape(name) for name in files.names}
        sizes = [packed_size(shapes, recipe, section.zero_bias) for recipe in section.all_recipes]
        halves = _HALF * files.count
        return ExportEstimate(
            size=sum(sizes),
            memory=_memory(shapes, source.config, section),
            scratch=halves + max(sizes),
            refusal=_refusal(source, section, shapes),
            note=_note(shapes, section),
        )

    def export(self, source: ResolvedModel, section: GptqSection, context: ExportContext) -> ExportResult:
        from camelid_core.models.loading import choose_dtype

        from .branches import Work, make_branch
        from .calibration import calibration_rows

        data = calibration_data(source, section.calibration, context.host, context.say)
        calibration = calibration_rows(data, section, context.encoder, context.say)
        shown = f"{len(calibration.rows):,} rows of {calibration.seqlen:,} tokens from {calibration.name}"
        context.say(f"Calibration: {shown}.")
        scratch = context.task.directory / _SCRATCH
        dtype = str(choose_dtype("auto")).removeprefix("torch.")
        with ExitStack() as ending:
            process = cache(lambda: ending.enter_context(GptqmodelProcess(context.task.directory)))
            work = Work(source, fingerprint(source.base), calibration, dtype, scratch, context, process)
            if section.recipes:
                return _export_all(section, work)
            with _emptied(scratch):
                return make_branch(section, context.output, work)

    def load_line(self, path: str, section: GptqSection) -> str:
        recipe = section.all_recipes[0]
        directory = Path(path) / (recipe.branch if section.recipes else "")
        plain = f', quantization_config=GPTQConfig(bits={recipe.bits}, backend="torch")'
        odd = _has_odd_groups(directory, recipe.group_size)
        return f'AutoModelForCausalLM.from_pretrained("{directory}"{plain if odd else ""})'

    def choices(self, source: ResolvedModel) -> Sequence[GptqSection]:
        """The usual recipe and finer ones, with rows that the model's context and its training data hold."""
        longest, tokens = source.config.get("max_position_embeddings"), own_tokens(source.manifest)
        seqlen = min(_SEQLEN, longest) if isinstance(longest, int) else _SEQLEN
        rows, seqlen = rows_that_fit(tokens, seqlen) if tokens else (_ROWS, seqlen)
        return [GptqSection.model_validate({**each, "rows": rows, "seqlen": seqlen}) for each in _OFFERED]

    def suffix(self, section: GptqSection) -> str:
        """As branches are called: `gptq-4bit-128g`."""
        if section.recipes:
            return self.name
        order = "-actorder" if section.desc_act else ""
        return f"{self.name}-{section.bits}bit-{section.group_size}g{order}"


GPTQ = GptqExporter()


def _export_all(section: GptqSection, work: Work) -> ExportResult:
    """Every branch in a folder of the output, each an artefact by itself. A finished branch stays in the attempt's own
    directory until all are: whatever ends the attempt, the next one takes it from there."""
    from .branches import finished_branch, make_branch

    context, recipes = work.context, section.all_recipes
    own = context.task.directory / _BRANCHES
    earlier = [each / _BRANCHES for each in context.task.earlier_attempts]
    places = [*earlier, *([Path(section.reuse)] if section.reuse else [])]
    for number, recipe in enumerate(recipes):
        directory, branch = own / recipe.branch, section.of(recipe)
        if found := finished_branch(branch, work, places):
            context.say(f"{recipe.branch} is there already, made in the same way: it is kept.")
            shutil.copytree(found, directory, copy_function=_linked)
            continue
        directory.mkdir(parents=True)
        with _emptied(work.scratch):
            result = make_branch(branch, directory, work, number, len(recipes))
        context.finish(directory, branch, result)
    for recipe in recipes:
        (own / recipe.branch).rename(context.output / recipe.branch)
    return ExportResult(parameters={"branches": [recipe.branch for recipe in recipes]}, parts=True)


def _linked(source: str, target: str) -> None:
    """The same file under another name where the file system can, else a copy: a branch takes gigabytes."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _emptied(directory: Path) -> Iterator[None]:
    """An empty directory, while it is needed."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _note(shapes: Shapes, section: GptqSection) -> str:
    """What is done with columns that are no multiple of a group size, where there are any."""
    sizes = sorted({recipe.group_size for recipe in section.all_recipes})
    return " ".join(odd_note(odd, size) for size in sizes if (odd := odd_columns(shapes, size)))


def _has_odd_groups(directory: Path, group_size: int) -> bool:
    """Whether a quantised model has columns that are no multiple of the group size, which only the plain kernel takes.
    `g_idx` holds the group of each column."""
    files = WeightFiles(directory)
    columns = (files.shape(name)[0] for name in files.names if name.endswith(".g_idx"))
    return group_size > 0 and any(count % group_size for count in columns)


def _refusal(source: ResolvedModel, section: GptqSection, shapes: Shapes) -> str:
    """Why the model cannot be had in this format here, as a sentence; empty where it can."""
    longest = source.config.get("max_position_embeddings")
    if isinstance(longest, int) and section.seqlen > longest:
        return (
            f"its context is {longest:,} tokens, and calibration rows of seqlen={section.seqlen:,} are asked for. "
            f"Ask for seqlen={longest} or less."
        )
    if odd := sorted({name for recipe in section.all_recipes for name in unpackable(shapes, recipe.bits)}):
        return (
            f"{odd[0]!r} and {len(odd) - 1} more of its matrices have sides that do not fill 32-bit words. Choose "
            "other bits, or another format."
        )
    if section.calibration == [OWN]:
        if "data" not in (source.manifest.parameters if source.manifest else {}):
            return without_training_data(source.name)
        if short := shortage(source.manifest, section):
            return short
    return missing_library()


def _memory(shapes: Shapes, config: Mapping[str, Any], section: GptqSection) -> int:
    """Bytes while one layer is calibrated: the library itself, the embeddings, the layer and the Hessian of each of its
    matrices in float32, and what goes into and comes out of the layer for all rows, in 16 bits."""
    matrices = quantised_matrices(shapes)
    tables = sum(_HALF * prod(shape) for name, shape in shapes.items() if is_table(name))
    layers: dict[str, int] = {}
    for name, (rows, columns) in matrices.items():
        layer = layer_of(name)
        layers[layer] = layers.get(layer, 0) + _FLOAT * (2 * rows * columns + 2 * columns * columns)
    width = int(config.get("hidden_size") or max((columns for _, columns in matrices.values()), default=0))
    return _LIBRARY + tables + max(layers.values(), default=0) + 2 * _HALF * section.rows * section.seqlen * width
