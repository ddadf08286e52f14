"""Loads tokenizers and models of a `ResolvedModel`; the one place that calls `from_pretrained`.

Knows dtypes, devices and safety. Knows nothing of training or generating. Imports torch inside;
whoever imports torch imports this module first.
"""

from __future__ import annotations

import os
import pkgutil
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from camelid_core.artefacts import verify_directory
from camelid_core.errors import ModelError
from camelid_core.integrity import fingerprint, refuse_pickles, safetensors_header
from camelid_core.json_files import object_in

from .adapters import ModelAdapter
from .devices import cpu_has_bf16
from .gguf import gguf_tokenizer, is_gguf
from .gptq_kernels import gptq_kernel, is_gptq, unpack_once
from .resolved_model import ResolvedModel, with_rope_parameters
from .rope import RopeScaling
from .vocabulary import ADAPTER_WEIGHTS, adapter_vocabulary, is_table
from .weight_reading import weights_counted

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Read by OpenMP when torch is first imported: idle threads must sleep, not spin (10 times faster on 2 busy cores).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def register_classes(adapter: ModelAdapter) -> None:
    """Make Transformers' Auto classes know the classes that a family brings itself."""
    if adapter.registration:
        pkgutil.resolve_name(adapter.registration)()


def choose_dtype(dtype: Dtype) -> Any:
    """The torch dtype: `auto` is bfloat16 where the device multiplies it natively; else float16 on a CUDA card (a T4, a
    V100), and float32 on a processor."""
    import torch

    if dtype != "auto":
        return getattr(torch, dtype)
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if cpu_has_bf16() else torch.float32


def choose_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_tokenizer(resolved: ResolvedModel) -> Any:
    """The tokenizer of the adapter's directory if it has one, else of the base model; always with a padding token."""
    from transformers import AutoTokenizer

    register_classes(resolved.adapter)
    directory = resolved.base
    if resolved.adapter_dir is not None and (resolved.adapter_dir / "tokenizer.json").is_file():
        directory = resolved.adapter_dir
    try:
        tokenizer = (
            gguf_tokenizer(directory)
            if is_gguf(directory)
            else AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        )
    except ModelError:
        raise
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        if not any(directory.glob("token*")):
            reason = "tokenizer.json is missing; copy it there from where the model came from."
        elif "trust_remote_code" in str(error):
            reason = "it would run code that came with the model, which is never done."
        raise ModelError(f"{str(directory)!r} has no tokenizer that can be loaded: {reason}") from error
    if tokenizer.pad_token_id is None:
        family = resolved.adapter.pad_token
        tokenizer.pad_token = family if family in tokenizer.get_vocab() else tokenizer.eos_token
    return tokenizer


def load_base(resolved: ResolvedModel, dtype: Dtype = "auto", **options: Any) -> Any:
    """The base model, on its device; `options` go to `from_pretrained` (quantisation).

    Raises:
        UnsafeFormat: pickled weights.
        ArtefactError: damaged weights.
        ModelError: the files do not make a model.
        MissingPackage: they are stored in a format whose library is not installed.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    register_classes(resolved.adapter)
    check_weight_files(resolved.base)
    logging.disable_progress_bar()
    kernel = gptq_kernel(resolved, choose_device()) if is_gptq(resolved) else ""
    chosen = "quantization_config" in options
    options = {"dtype": choose_dtype(dtype), **resolved.adapter.model_options, **options}
    if resolved.rope_scaled or kernel:
        options["config"] = config_of(resolved)
    if kernel and not chosen:
        options["config"].quantization_config["backend"] = kernel
    try:
        with weights_counted(resolved.base):
            model, found = AutoModelForCausalLM.from_pretrained(
                resolved.base, local_files_only=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"{resolved.name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"{resolved.name!r}: {_tensors(missing)} missing from its weight files, and would be random numbers. "
            "Copy the model's files again, all of them; or correct its config.json."
        )
    if spare := _layers_beyond(found["unexpected_keys"], model):
        raise ModelError(
            f"{resolved.name!r}: {_tensors(spare)} in its weight files and would be left out, as its config.json has "
            "fewer layers. Copy the model's files again, all of them; or correct its config.json."
        )
    if is_gptq(resolved) and choose_device() == "cpu" and not chosen:
        unpack_once(model)
    return model if "device_map" in options else model.to(choose_device())


def load_config(resolved: ResolvedModel) -> Any:
    """The base's configuration as Transformers reads it: complete, whichever version wrote the file.

    Raises:
        ModelError: Transformers cannot read it.
    """
    from transformers import AutoConfig

    register_classes(resolved.adapter)
    try:
        return AutoConfig.from_pretrained(resolved.base, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{resolved.name!r} cannot be loaded: {str(error).splitlines()[0]}") from error


def config_of(resolved: ResolvedModel) -> Any:
    """The configuration that the model is loaded with: the file's, with the resolved model's RoPE scaling."""
    config = load_config(resolved)
    if resolved.rope_scaled:
        config.rope_parameters = dict(resolved.config["rope_parameters"])
        config.max_position_embeddings = resolved.config["max_position_embeddings"]
        if (
            getattr(config, "head_dim", 0) is None
        ):  # some scalings are computed from it, and configurations leave it out
            config.head_dim = config.hidden_size // config.num_attention_heads
    return config


def load_with_adapter(resolved: ResolvedModel, dtype: Dtype = "auto", base: Any = None) -> Any:
    """The base model with the adapter on it (frozen), or the base model alone if `resolved` is no adapter.

    `base` is the base model if it is loaded already.

    Raises:
        ArtefactError: the adapter is not the one that was written.
        ModelError: it was trained on another base.
    """
    if resolved.adapter_dir is None:
        return load_base(resolved, dtype)
    check_adapter(resolved)
    return adapter_on(load_base(resolved, dtype) if base is None else base, resolved)


def check_adapter(resolved: ResolvedModel) -> None:
    """Raise CamelidError unless the adapter's files are those that were written, and its base the one it was trained
    on."""
    assert resolved.adapter_dir is not None
    check_weight_files(resolved.adapter_dir)
    if resolved.manifest is not None:
        verify_directory(resolved.adapter_dir)
    check_adapter_base(resolved)


def adapter_on(model: Any, resolved: ResolvedModel) -> Any:
    """The base `model` with the adapter of `resolved` on it, frozen; `check_adapter` was called.

    Raises:
        ModelError: it does not fit.
    """
    from peft import PeftModel

    assert resolved.adapter_dir is not None
    with warnings.catch_warnings():  # AdaLoRA keeps its ranks where peft looks for LoRA's, and works all the same
        warnings.filterwarnings("ignore", "The following rank_pattern keys did not match", RuntimeWarning)
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # peft asks
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # refused below, by name
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)  # merging checks it
        rows = adapter_vocabulary(resolved.adapter_dir)
        if rows > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(rows, mean_resizing=False)  # the adapter brings the rows themselves
        try:
            adapted = PeftModel.from_pretrained(model, str(resolved.adapter_dir)).eval()
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise ModelError(
                f"adapter {resolved.name!r} does not fit {str(resolved.base)!r}: {_misfit(error)}"
            ) from error
        check_adapter_fits(adapted, resolved.adapter_dir, resolved.name, repr(str(resolved.base)))
        return adapted


def add_adapter(adapted: Any, resolved: ResolvedModel, label: str) -> None:
    """Put a further adapter beside the one on `adapted`, where PEFT calls it `label`; `check_adapter` was called.

    Raises:
        ModelError: it does not fit.
    """
    directory = resolved.adapter_dir
    assert directory is not None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # refused below, by name
        try:
            adapted.load_adapter(str(directory), label)
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise ModelError(
                f"adapter {resolved.name!r} does not fit {str(resolved.base)!r}: {_misfit(error)}"
            ) from error
        check_adapter_fits(adapted, directory, resolved.name, repr(str(resolved.base)), label)


def _misfit(error: Exception) -> str:
    """Why peft could not put an adapter on a model, as a sentence."""
    if found := _OTHER_SHAPE.search(str(error)):
        name, ours, theirs = found.groups()
        return f"{name!r} has shape {ours}, and this model takes {theirs}. It is for another base."
    return " ".join(str(error).strip().splitlines()[:2])[:500]


def check_adapter_fits(adapted: Any, directory: Path, name: str, base: str, label: str = "default") -> None:
    """Raise ModelError where a tensor of the adapter is missing from its file, which peft leaves as it was made, or one
    in the file has no place in the model, which peft leaves out. Tables of embeddings beside the adapter are in order.
    `name` and `base` are what people call the two; `label` is what peft calls the adapter.
    """
    from peft import get_peft_model_state_dict

    path = directory / ADAPTER_WEIGHTS
    if not path.is_file():
        return
    expected = set(get_peft_model_state_dict(adapted, adapter_name=label, save_embedding_layers=False))
    there = set(safetensors_header(path)) - {"__metadata__"}
    missing, spare = sorted(expected - there), sorted(key for key in there - expected if not is_table(key))
    faults = [f"{_tensors(missing)} missing from {ADAPTER_WEIGHTS}"] if missing else []
    faults += [f"{_tensors(spare)} without a place in it"] if spare else []
    if faults:
        whose = " It is for another base." if spare else ""
        raise ModelError(f"adapter {name!r} does not fit {base}: {'; '.join(faults)}.{whose}")


def _layers_beyond(spare: Iterable[str], model: Any) -> list[str]:
    """Tensors of a base's file that differ from the model's own by the number of their layer alone."""
    own = {_LAYER_NUMBER.sub(".N.", key) for key in model.state_dict()}
    return sorted(key for key in spare if _LAYER_NUMBER.sub(".N.", key) in own)


_OTHER_SHAPE = re.compile(r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)")
"""What torch says of a tensor of another shape: its name, the file's shape and the model's."""
_INDEX = "model.safetensors.index.json"
_LAYER_NUMBER = re.compile(r"\.\d+\.")


def _tensors(names: list[str]) -> str:
    """A few names of many, as the subject of a sentence."""
    shown = ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
    return f"{shown} {'are' if len(names) > 1 else 'is'}"


def check_weight_files(directory: Path) -> None:
    """Raise UnsafeFormat for a pickle, ArtefactError for weights that were cut short or damaged, ModelError for tensors
    that the index of a model in several files names and its files lack. Reads headers alone."""
    refuse_pickles(directory)
    held = {path.name: set(safetensors_header(path)) for path in sorted(directory.glob("*.safetensors"))}
    index = object_in(directory / _INDEX).get("weight_map")
    places = index if isinstance(index, dict) else {}
    if missing := sorted(name for name, file in places.items() if name not in held.get(str(file), ())):
        files = ", ".join(sorted({str(places[name]) for name in missing}))
        raise ModelError(
            f"{str(directory)!r}: {_tensors(missing)} missing from its weight files ({files}). Copy the model's files "
            "again, all of them."
        )


def check_adapter_base(resolved: ResolvedModel) -> None:
    """Raise ModelError if the adapter was trained on another base than the one found."""
    base = resolved.manifest.base if resolved.manifest else None
    if base is not None and base.fingerprint and base.fingerprint != fingerprint(resolved.base):
        raise ModelError(
            f"adapter {resolved.name!r} was trained on another base than {str(resolved.base)!r} "
            f"({base.id}): weights, configuration or tokenizer differ. Point it at the original base."
        )


def with_rope_scaling(resolved: ResolvedModel, scaling: RopeScaling) -> ResolvedModel:
    """The model with scaled positions: its configuration says so, its files stay as they are.

    Raises:
        ModelError: the model has no rotary positions, or they are scaled already, or its family's cannot be.
    """
    if refusal := resolved.adapter.refusals.get("long-context"):
        raise ModelError(f"{resolved.name!r}: {refusal.removesuffix('.')}; leave model.rope empty.")
    config = load_config(resolved)
    there = getattr(config, "rope_parameters", None)
    longest = resolved.config.get("max_position_embeddings")
    if not there or not isinstance(longest, int) or getattr(config, "alibi", False):
        raise ModelError(f"{resolved.name!r} has no rotary positions to scale; leave model.rope empty.")
    if any(isinstance(value, dict) for value in there.values()):
        raise ModelError(
            f"{resolved.name!r} has rotary positions of several kinds ({', '.join(there)}), which cannot be scaled; "
            "leave model.rope empty."
        )
    if there.get("rope_type", "default") != "default":
        raise ModelError(
            f"{resolved.name!r} is scaled already ({there['rope_type']}, factor {there.get('factor')}); "
            "leave model.rope empty to keep that."
        )
    parameters = {**there, "rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind == "yarn":
        parameters["original_max_position_embeddings"] = longest
    return with_rope_parameters(resolved, parameters, longest)
