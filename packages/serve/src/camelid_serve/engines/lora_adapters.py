"""Adapters on one resident base model: which there are, which can share a batch (multi-LoRA), loading and unloading.

Knows PEFT. Knows nothing of requests, threads and batches: callers see to it that no forward pass runs meanwhile.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from camelid_core.errors import ModelError
from camelid_core.models.loading import check_adapter_fits
from camelid_core.models.vocabulary import adapter_vocabulary

from camelid_serve.engine import CannotShare

from .multi_lora import MultiLora

_BASE_CHANGING_INITS = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Initialisations of LoRA (`init_lora_weights`) that take the adapter's part out of the base's weights; the adapter
fits such a changed base alone."""


class ResidentAdapters:
    """`model` is the one to call; `names` are the adapters on it; `base_change` says how one of them changes the base
    itself, empty if none does."""

    def __init__(self, model: Any) -> None:
        configs = getattr(model, "peft_config", None) if hasattr(model, "get_base_model") else None
        for config in (configs or {}).values():
            _refuse_prompt_learning(config)
        self.model = model.get_base_model() if configs else model
        self.names: tuple[str, ...] = tuple(configs or ())
        self.base_change = next(filter(None, map(_base_change, (configs or {}).values())), "")
        self._peft = model if configs else None
        self._multi_lora = MultiLora()
        self._reasons: dict[str, str] = {}
        self._separate: dict[str, str] = {}
        self._active: str | None = None
        self._numbers = itertools.count(1)
        self._regroup()

    def batch_key(self, adapter: str | None) -> str | None:
        """What rows must have in common to run in one batch: None where they may be under different adapters."""
        return adapter if adapter in self._separate else None

    def why_not_batched(self, adapter: str) -> str:
        """Why rows under `adapter` cannot share a batch with others; empty if they can."""
        return self._separate.get(adapter, "")

    def activate(self, rows: Sequence[str | None]) -> None:
        """The adapters of the rows of the next forward pass, all of one `batch_key`; if all have one, of however many
        rows."""
        separate = rows[0] if rows[0] in self._separate else None
        if separate != self._active:
            self._switch(separate)
        self._multi_lora.activate(() if separate else rows)

    def add(self, directory: Path) -> str:
        """Load one more from its directory, beside the others; returns its name.

        Raises:
            CannotShare: of a kind that needs a base of its own.
            ModelError: it does not fit this base.
        """
        from peft import PeftConfig

        config = PeftConfig.from_pretrained(str(directory), local_files_only=True)
        _refuse_prompt_learning(config)
        self._check_base_shareable(config, directory)
        name = f"adapter{next(self._numbers)}"
        try:
            with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The following rank_pattern keys did not match", RuntimeWarning)
                warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
                self._wrap_base(name, config, directory)
                self._load_weights(name, directory)
        except (ValueError, TypeError, RuntimeError, KeyError, OSError) as error:
            self._drop(name)
            self._regroup()
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"adapter {str(directory)!r} does not fit this base: {_first_lines(error)}") from error
        self.names += (name,)
        self._regroup()
        return name

    def remove(self, name: str) -> None:
        """Unload an adapter, and PEFT's wrappers around the base's layers if it was the last."""
        self.names = tuple(other for other in self.names if other != name)
        self._drop(name)
        self._regroup()

    def _wrap_base(self, name: str, config: Any, directory: Path) -> None:
        """Have PEFT wrap the base's layers for an adapter."""
        from peft import PeftModel

        config.inference_mode = True
        if self._peft is None:
            try:
                self._peft = PeftModel(self.model, config, name)
            except Exception:
                _unwrap(self.model)
                raise
            return
        try:
            self._peft.add_adapter(name, config)
        except (ValueError, TypeError) as error:
            self._peft.peft_config[name] = config  # PEFT has forgotten it, but its layers are still there to be deleted
            reason = f"cannot be put beside those that are resident: {_first_lines(error)}"
            raise CannotShare(f"adapter {str(directory)!r} {reason}") from error

    def _load_weights(self, name: str, directory: Path) -> None:
        """Load an adapter's weights from its directory."""
        peft: Any = self._peft
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)  # refused below, by name
            peft.load_adapter(str(directory), name, torch_device=str(self.model.device))
        peft.eval()
        check_adapter_fits(peft, directory, str(directory), "this base", name)
        for key, value in peft.named_parameters():  # NaN in the stacked product would spread to other rows
            if name in key.split(".") and not bool(torch.isfinite(value).all()):
                raise ValueError(f"{key} has values that are no numbers.")

    def _drop(self, name: str) -> None:
        if self._peft is None or name not in self._peft.peft_config:
            return
        self._multi_lora.activate(())
        others = [other for other in self._peft.peft_config if other != name]
        if others:
            self._peft.base_model.set_adapter(others[0], inference_mode=True)  # of one that is on PEFT warns
            self._peft.delete_adapter(name)
            return
        self._multi_lora.clear()
        self._peft.unload()
        self._peft = None

    def _regroup(self) -> None:
        """After a change: which adapters share a batch, which do not, and none is active."""
        if self._peft is None:
            self._separate, self._active = {}, None
            return
        for name in self.names:
            if name not in self._reasons:
                self._reasons[name] = _why_not_batched(self._peft, name)
        self._separate = {name: self._reasons[name] for name in self.names if self._reasons[name]}
        with torch.inference_mode(False), torch.no_grad():
            self._multi_lora.stack_adapters(self.model, frozenset(self.names) - self._separate.keys())
        if not self.base_change:
            self._switch(None)

    def _switch(self, adapter: str | None) -> None:
        """Have PEFT activate one adapter, or none."""
        tuner = self._peft.base_model  # type: ignore[union-attr]
        if adapter is None:
            tuner.disable_adapter_layers()
        else:
            tuner.set_adapter(adapter, inference_mode=True)
            tuner.enable_adapter_layers()
        self._active = adapter

    def _check_base_shareable(self, config: Any, directory: Path) -> None:
        changed = _base_change(config)
        if changed:
            raise CannotShare(f"adapter {str(directory)!r} {changed}, so that nothing else can share its base.")
        if self.base_change:
            raise CannotShare(f"the adapter that is resident {self.base_change}, so that nothing can share its base.")
        here = {_peft_kind(other) for other in self._peft.peft_config.values()} if self._peft is not None else set()
        rows, here_rows = adapter_vocabulary(directory), self.model.get_input_embeddings().weight.shape[0]
        if rows > here_rows:
            raise CannotShare(
                f"adapter {str(directory)!r} has a vocabulary of {rows:,} and the resident base one of {here_rows:,}: "
                "it needs a base of its own."
            )
        if here - {_peft_kind(config)}:
            raise CannotShare(f"adapters of the kinds {_peft_kind(config)} and {here.pop()} cannot share a base.")


def _unwrap(model: Any) -> None:
    """Remove the wrappers that PEFT put around a base's layers before it failed."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            model.set_submodule(path, module.get_base_layer())


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).strip().splitlines()[:2])[:500]


def _refuse_prompt_learning(config: Any) -> None:
    if config.is_prompt_learning:
        raise ModelError("this adapter is learned prompt tokens, which this engine cannot put on a base; use LoRA.")


def _peft_kind(config: Any) -> str:
    """The kind that adapters must have in common for PEFT to put them on one base."""
    tokens = " with trainable tokens" if getattr(config, "trainable_token_indices", None) else ""
    return f"{config.peft_type.value}{tokens}"


def _base_change(config: Any) -> str:
    """How an adapter changes the base's own answers; empty if it does not."""
    init = getattr(config, "init_lora_weights", True)
    if isinstance(init, str) and init.lower().startswith(_BASE_CHANGING_INITS):
        return f"takes its start out of the base's weights ({init})"
    if getattr(config, "bias", "none") != "none":
        return f"replaces biases of the base (bias={config.bias!r})"
    if getattr(config, "layer_replication", None):
        return "repeats layers of the base"
    return ""


def _why_not_batched(peft: Any, name: str) -> str:
    """Why an adapter cannot share a batch with others; empty if it can: it has LoRA matrices on linear layers alone."""
    from peft import PeftType
    from peft.tuners.lora import LoraLayer

    config = peft.peft_config[name]
    if config.peft_type != PeftType.LORA:
        return f"it is of the kind {config.peft_type.value}"
    if _base_change(config):
        return f"it {_base_change(config)}"
    for field in ("modules_to_save", "trainable_token_indices"):
        if getattr(config, field, None):
            return f"it has weights of its own in place of the base's ({field})"
    layers = ((path, layer) for path, layer in peft.base_model.model.named_modules() if isinstance(layer, LoraLayer))
    return next(filter(None, (_why_layer_not_batched(path, layer, name) for path, layer in layers)), "")


def _why_layer_not_batched(path: str, layer: Any, name: str) -> str:
    """The same for one of its layers."""
    from peft.tuners.lora.layer import MultiheadAttention, ParamWrapper, _ConvNd

    if name in layer.lora_embedding_A:
        return f"it adapts embeddings ({path})"
    if name not in layer.lora_A:
        return ""
    if isinstance(layer, (MultiheadAttention, ParamWrapper, _ConvNd)) or ".experts." in path:
        return f"it adapts {path}, where rows cannot be told apart"
    if name in layer.lora_variant:
        return f"it is a variant of LoRA ({type(layer.lora_variant[name]).__name__})"
    return "it has biases of its own (lora_bias)" if layer.lora_bias.get(name) else ""
