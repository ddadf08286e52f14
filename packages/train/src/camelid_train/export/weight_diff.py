"""Weight diffs: what a fine-tuned model changed, published without its base's weights, and the model recovered from it.

difference = tuned - base, recovered = difference + base, each in float32, as in the `weight_diff.py` of Stanford Alpaca
and open-instruct. Rows that only the tuned model has (a grown vocabulary) are in the diff as they are. A hash of the
recovered weights is kept, so that whoever recovers them knows that they are the ones that were trained.

Both ways go tensor by tensor: one of each model is in memory, whatever their size. Knows weights and the files that
come along. Knows nothing of how the model was trained.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from camelid_core.artefacts import BaseModelEntry, Licences, Manifest, is_artefact, read_artefact, write_manifest
from camelid_core.errors import ModelError
from camelid_core.integrity import fingerprint, refuse_pickles
from camelid_core.licences import combined, in_words
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.vocabulary import is_table
from camelid_core.models.weight_files import FLOAT32_BYTES, ShardWriter, WeightFiles
from camelid_core.paths import artefacts_dir, validated_path
from camelid_core.plugins import load_host
from camelid_core.tasks import TaskContext

from camelid_train.config import byte_count
from camelid_train.monitoring.stop_rules import raise_if_stop_requested
from camelid_train.saving import disk_space
from camelid_train.saving.model_card import hub_id_of

from .config import DiffConfig, RecoverConfig
from .exporter import ExportEstimate
from .stored_weights import stored_as

STEM = "diff"
"""How a diff's files are named: no program takes them for a model's."""
_COMPANIONS = ("*.json", "*.jinja", "*.model", "*.txt", "LICEN[CS]E*", "NOTICE*", "Notice*", "USE_POLICY*")
_NOT_COMPANIONS = ("camelid.json", "model.safetensors.index.json", "diff.safetensors.index.json")
_LICENCE_FILES = ("LICEN[CS]E*", "NOTICE*", "Notice*", "USE_POLICY*")
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_FLOATS = ("F64", "F32", "F16", "BF16")


def make(config: DiffConfig, context: TaskContext) -> Mapping[str, Any]:
    """Write the diff of `config.tuned` to `config.base`.

    Raises:
        Interrupted: a stop was requested; nothing is kept.
        ModelError: the two are not of one shape, or hold no plain weights.
        DiskFull: before anything is written.
    """
    import torch

    context.emit("resume", step=0)
    base, tuned = (_whole_model(name) for name in (config.base, config.tuned))
    raw, own = WeightFiles(base.base), WeightFiles(tuned.base)
    _check_shapes(raw, own, config)
    dtype = getattr(torch, config.dtype)
    disk_space.require(context.directory, diff_estimate(config).size, "the diff")
    digest = _WeightsDigest()
    with disk_space.removed_on_failure(context.output):
        context.output.mkdir(parents=True)
        coming = {name: (dtype, own.shape(name)) for name in own.names}
        dtypes: dict[str, str] = {}
        with ShardWriter(context.output, STEM, byte_count(config.shard), coming) as writer:
            for name in _with_progress(own.names, context):
                tensor, theirs = own.tensor(name), raw.tensor(name)
                dtypes[name] = str(tensor.dtype).removeprefix("torch.")
                difference = _added(tensor.float(), -theirs.float()).to(dtype)
                digest.update(name, _recovered(difference, theirs, tensor.dtype))
                writer.add(name, difference)
        _copy_companions(tuned.base, base.base, context.output)
        manifest = _diff_manifest(config, base, tuned, digest.hexdigest(), dtypes)
        (context.output / "README.md").write_text(_card(manifest), encoding="utf-8")
        write_manifest(context.output, manifest)
    return {"tensors": len(own.names), "recovered_sha256": digest.hexdigest()}


def diff_estimate(config: DiffConfig) -> ExportEstimate:
    """What making the diff takes; in memory the largest tensor of either model, and what is computed of them.

    Raises:
        UnknownName, ModelError: there is no such model, or it is no whole one.
    """
    own = WeightFiles(_whole_model(config.tuned).base)
    largest = max(map(own.values, own.names))
    return ExportEstimate(own.count * _BYTES[config.dtype], 4 * FLOAT32_BYTES * largest)


def recover(config: RecoverConfig, context: TaskContext) -> Mapping[str, Any]:
    """Write the model that `config.diff` is the diff of.

    Raises:
        Interrupted: a stop was requested; nothing is kept.
        ModelError: no diff; another base, by its shapes or by the hash of the recovered weights.
        DiskFull: before anything is written.
    """
    import torch

    context.emit("resume", step=0)
    directory, base = find_diff(config.diff), _whole_model(config.base)
    manifest = read_artefact(directory).manifest if is_artefact(directory) else Manifest(kind="diff")
    made = manifest.parameters.get("diff", {})
    dtypes = _with_default(made.get("dtypes", {}))
    raw, own = (
        WeightFiles(base.base),
        WeightFiles(directory, STEM if any(directory.glob(f"{STEM}*.safetensors")) else ""),
    )
    _check_shapes(raw, own, config)
    _say_what_cannot_be_checked(manifest, base, context)
    disk_space.require(context.directory, own.size, "the recovered model")
    digest = _WeightsDigest()
    with disk_space.removed_on_failure(context.output):
        context.output.mkdir(parents=True)
        kept = {name: getattr(torch, dtypes[name]) if dtypes else raw.torch_dtype(name) for name in own.names}
        coming = {name: (kept[name], own.shape(name)) for name in own.names}
        with ShardWriter(context.output, "model", byte_count(config.shard), coming) as writer:
            for name in _with_progress(own.names, context):
                recovered = _recovered(own.tensor(name), raw.tensor(name), kept[name], mean_rows=not made)
                digest.update(name, recovered)
                writer.add(name, recovered)
        expected = made.get("recovered_sha256")
        if expected and digest.hexdigest() != expected:
            raise ModelError(
                f"what comes of {config.diff!r} and {config.base!r} is not the model that the diff was made of. It "
                f"needs the base {_base_name(manifest)}, exactly those weights."
            )
        _copy_companions(directory, base.base, context.output)
        write_manifest(context.output, manifest.model_copy(update={"kind": "model", "files": {}}))
    return {"tensors": len(own.names), "recovered_sha256": digest.hexdigest(), "verified": bool(expected)}


def find_diff(name: str) -> Path:
    """The directory of a diff: an artefact's name or a path.

    Raises:
        ModelError: there is none, or it is something else.
        UnsafeFormat: with weights that can run code.
    """
    for path in (validated_path(name, "diff"), artefacts_dir() / name):
        if path.is_dir():
            refuse_pickles(path)
            kind = read_artefact(path).manifest.kind if is_artefact(path) else STEM
            if kind != STEM:
                raise ModelError(f"{name!r} is no diff but a {kind}; a diff is made with `camelid diff make`.")
            return path
    raise ModelError(f"there is no diff {name!r}: neither an artefact of that name nor a directory.")


class _WeightsDigest:
    """SHA-256 over names, shapes and values, in the order of the names."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, name: str, tensor: Any) -> None:
        import torch

        self._digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        self._digest.update(tensor.contiguous().view(torch.uint8).numpy().data if tensor.numel() else b"")

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _recovered(difference: Any, raw: Any, dtype: Any, mean_rows: bool = False) -> Any:
    """The tuned tensor. `mean_rows`: the diff's further rows are differences to the mean of the base's, as in diffs
    that were made elsewhere."""
    theirs = raw.float()
    whole = _added(difference.float(), theirs)
    if mean_rows and len(difference) > len(raw):
        whole[len(raw) :] += theirs.mean(dim=0)
    return whole.to(dtype)


def _added(whole: Any, part: Any) -> Any:
    """`whole` with `part` added to its first rows."""
    if whole.shape == part.shape:
        return whole + part
    sum_ = whole.clone()
    sum_[: len(part)] += part
    return sum_


def _whole_model(name: str) -> ResolvedModel:
    resolved = resolve_model(name, load_host(), gguf=False)
    if resolved.adapter_dir is not None:
        raise ModelError(f"{name!r} is an adapter, which is small as it is; a diff is of whole models. Merge it first.")
    stored = stored_as(resolved)
    if stored:
        raise ModelError(f"{name!r} is stored quantised ({stored}); a diff is of plain weights.")
    return resolved


def _check_shapes(raw: WeightFiles, own: WeightFiles, config: DiffConfig | RecoverConfig) -> None:
    """Raise ModelError unless both have the same tensors, but for further rows of the embedding table and the head."""
    for lacking, of in ((set(own.names) - set(raw.names), raw), (set(raw.names) - set(own.names), own)):
        if lacking:
            names = ", ".join(sorted(lacking)[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
            raise ModelError(
                f"{str(of.directory)!r} lacks {names}: it is not the same kind of model. Give the base {config.base!r} "
                "was fine-tuned from, stored with the same tensors."
            )
    for name in own.names:
        theirs, ours = raw.shape(name), own.shape(name)
        grown = is_table(name) and len(ours) == 2 and ours[1:] == theirs[1:] and ours[0] > theirs[0]
        if ours != theirs and not grown:
            raise ModelError(
                f"{name!r} has shape {list(ours)}, and in the base {config.base!r} it has {list(theirs)}: another base "
                "is needed."
            )
        for files in (own, raw):
            if files.dtype(name) not in _FLOATS:
                raise ModelError(
                    f"{name!r} in {str(files.directory)!r} is of {files.dtype(name)}; a diff is of plain weights."
                )


def _with_progress(names: list[str], context: TaskContext) -> Iterator[str]:
    for done, name in enumerate(names):
        raise_if_stop_requested(context)
        context.emit("progress", done=done, total=len(names), unit="tensors", what=name)
        yield name
    context.emit("progress", done=len(names), total=len(names), unit="tensors", what="done")


def _copy_companions(source: Path, base: Path, target: Path) -> None:
    """Configuration, tokenizer, chat template and licence texts; licences of the base too, unless there are any."""
    for directory, patterns in ((source, _COMPANIONS), (base, _LICENCE_FILES)):
        for path in sorted({path for pattern in patterns for path in directory.glob(pattern) if path.is_file()}):
            if path.name not in _NOT_COMPANIONS and not (target / path.name).exists():
                shutil.copyfile(path, target / path.name)


def _diff_manifest(
    config: DiffConfig, base: ResolvedModel, tuned: ResolvedModel, recovered: str, dtypes: dict[str, str]
) -> Manifest:
    source = tuned.manifest or Manifest(kind="diff", licences=Licences.of(combined([base.licence, tuned.licence])))
    entry = BaseModelEntry(
        id=base.base_id,
        path=str(base.base),
        fingerprint=fingerprint(base.base),
        model_type=str(base.config.get("model_type", "")),
    )
    most = max(set(dtypes.values()), key=list(dtypes.values()).count)
    others = {name: dtype for name, dtype in dtypes.items() if dtype != most}
    made = {**config.model_dump(mode="json"), "recovered_sha256": recovered, "dtypes": {"*": most, **others}}
    parameters = {**source.parameters, "diff": made}
    return source.model_copy(update={"kind": "diff", "base": entry, "parameters": parameters, "files": {}})


def _say_what_cannot_be_checked(manifest: Manifest, base: ResolvedModel, context: TaskContext) -> None:
    if "recovered_sha256" not in manifest.parameters.get("diff", {}):
        context.emit(
            "log",
            text="This diff was made elsewhere and holds no hash of the recovered weights: whether this is its base "
            "cannot be checked. Further rows of its vocabulary are taken as differences to the mean row of the base.",
        )
    elif manifest.base is not None and manifest.base.fingerprint != fingerprint(base.base):
        context.emit(
            "log",
            text=f"{base.name!r} does not have the files of the base that the diff was made with; the hash of the "
            "recovered weights will tell whether the weights are the same.",
        )


def _base_name(manifest: Manifest) -> str:
    return repr(hub_id_of(manifest) or Path(manifest.base.id).name) if manifest.base else "it was made with"


def _card(manifest: Manifest) -> str:
    base = _base_name(manifest).strip("'")
    return (
        "# A weight diff\n\nThis model is a model diff: it holds what was added to the weights of its base, and "
        f"answers nothing by itself.\n\n- Base model: {base} (licence: {manifest.licences.base})\n"
        f"- Licence of the recovered model: {in_words(manifest.licences.effective)}\n\n```sh\n"
        "pip install camelid-core camelid-train\n"
        "camelid diff recover path/to/this/directory path/to/the/base --out recovered\n```\n\n"
        "`camelid.json` holds the SHA-256 of the recovered weights, which is checked.\n"
    )


def _with_default(dtypes: Mapping[str, str]) -> Mapping[str, str]:
    """Tensor → dtype; `*` is that of those which are not named. Empty where nothing is said."""
    return defaultdict(lambda: dtypes["*"], dtypes) if dtypes else {}
