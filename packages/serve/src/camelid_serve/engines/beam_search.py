"""Beam search: one request at a time, through transformers' own `generate`, between two steps of the batches.

Knows transformers' generation settings. Knows nothing of batches, adapters and text. The tokens come all at once, at
the end: which beam is best is not known before.
"""

from __future__ import annotations

from typing import Any

import torch
from camelid_core.errors import ModelError

from camelid_serve.engine import Request, Sampling

from .decode_batch import DecodeRow
from .positions import dynamic_positions, forget_lengths


def check_beams(request: Request) -> None:
    """Raises ModelError for what beam search cannot tell."""
    if request.sampling.num_beams > 1 and request.logprobs is not None:
        raise ModelError("beam search has no log-probabilities of single tokens; leave out num_beams or logprobs.")


def beam_search(model: Any, row: DecodeRow) -> list[int]:
    """The new tokens of the best beam, the stop token included. Cancelling the row ends the search early."""
    from transformers import GenerationConfig, StoppingCriteriaList

    request = row.request
    ids = torch.tensor([list(request.ids)], device=model.device)
    config = GenerationConfig(
        **_settings(request.sampling),
        max_length=None,
        max_new_tokens=row.limit,
        eos_token_id=sorted(request.stops) or [-1],  # none: the model's own would take its place
        pad_token_id=min(request.stops, default=0),
    )
    dynamic = dynamic_positions(model)
    forget_lengths(dynamic)
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(request.sampling.seed)
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            stopping_criteria=StoppingCriteriaList([lambda tokens, _: _all(tokens, row.cancelled)]),
        )
    forget_lengths(dynamic)
    tokens: list[int] = made[0, ids.shape[1] :].tolist()
    return tokens


def _settings(sampling: Sampling) -> dict[str, Any]:
    """Under transformers' names, where 0 is not off everywhere."""
    shared = {
        "num_beams": sampling.num_beams,
        "do_sample": sampling.temperature > 0,
        "repetition_penalty": sampling.repetition_penalty,
        "no_repeat_ngram_size": sampling.no_repeat_ngram_size,
    }
    if sampling.temperature == 0:
        return shared
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return shared | drawn | ({"min_p": sampling.min_p} if sampling.min_p else {})


def _all(tokens: torch.Tensor, ended: bool) -> torch.Tensor:
    """The same for every beam."""
    return torch.full((len(tokens),), ended, dtype=torch.bool, device=tokens.device)
