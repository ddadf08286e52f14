"""A model's `generation_config.json` → the sampling that its makers recommend, and what of it has no place here.

Format: transformers' `GenerationConfig`. As there, a model that does not say `do_sample` is greedy, and penalties hold
all the same. Knows that file. Loads no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from camelid_core.config import validate
from camelid_core.json_files import object_in
from camelid_core.models.resolved_model import ResolvedModel

from .engine import Sampling

FILE = "generation_config.json"
_PENALTIES = ("repetition_penalty", "no_repeat_ngram_size")
_SAMPLED = ("temperature", "top_p", "top_k", "min_p")
_OFF: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "typical_p": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "top_h": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "guidance_scale": (1,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "exponential_decay_length_penalty": (),
    "bad_words_ids": ([],),
    "sequence_bias": ({}, []),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "stop_strings": ([],),
    "watermarking_config": (),
}
"""Settings that would change an answer and are not known here, and the values with which they are off (null always)."""


def recommended_sampling(resolved: ResolvedModel) -> Sampling:
    """The sampling of the file; greedy where it does not sample.

    Raises:
        ConfigError: a value that is not valid.
    """
    config = object_in(resolved.base / FILE)
    sampled = {"temperature": 1.0} if config.get("do_sample") else {}
    keys = (*_PENALTIES, *_SAMPLED) if sampled else _PENALTIES
    given = {key: config[key] for key in keys if config.get(key) is not None}
    return validate(Sampling, sampled | given, f"{FILE} of {resolved.name!r}")


def unused_settings(resolved: ResolvedModel) -> str:
    """A sentence that names the settings of the file which answers here do not follow; empty without any."""
    config = object_in(resolved.base / FILE)
    unused = [
        f"{name} {config[name]!r}"
        for name, off in _OFF.items()
        if config.get(name) is not None and config[name] not in off
    ]
    return f"{FILE} of {resolved.name!r} has what answers here do not follow: {', '.join(unused)}." if unused else ""
