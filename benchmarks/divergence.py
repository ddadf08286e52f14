"""How far a model's distributions are from its source's, on the tokens of answers, as `camelid prove` counts them.

For `gguf_kl.py` and `gptq_branches.py`, which compare many models with one source in one process. Intervals are 95 %,
clustered by text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

LONGEST = 256
"""Tokens of a text; of longer ones the beginning is taken."""


def held_out(source: Any, data: str, rows: int, further: int = 0) -> tuple[list[Any], list[list[int]]]:
    """Tokenized texts of the first held-out rows of a dataset, or first rows of a file; and the token ids of so many
    further rows, which are for calibration."""
    from camelid_core.datasets.sources import open_dataset
    from camelid_core.models.loading import load_tokenizer
    from camelid_core.models.template_choice import template_of
    from camelid_core.plugins import load_host
    from camelid_core.tokenization.encoder import Encoder
    from camelid_serve.evaluations.proof.tokenized_texts import tokenized_texts

    host = load_host()
    encoder = Encoder(load_tokenizer(source), template_of(source, host))
    records = list(islice(open_dataset(data, host.datasets).load("heldout", None), rows + further))
    texts, _ = tokenized_texts(encoder, records[:rows], LONGEST)
    return texts, [encoder.example(record.messages).input_ids[:LONGEST] for record in records[rows:]]


def in_transformers(model: Any, text: Any) -> Any:
    """[counted tokens, vocabulary]: the log-probabilities that each was read with."""
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([list(text.ids)])).logits[0]
    return logits[torch.tensor(text.counted) - 1].float().log_softmax(-1)


def compared(texts: Sequence[Any], expected: Sequence[Any], found: Sequence[Any]) -> dict[str, Any]:
    """KL divergence per token, equal top tokens, perplexity of the model and its ratio to the source's."""
    from camelid_core.statistics.scores import estimate_of_sums

    counts, pairs = [len(each) for each in expected], list(zip(expected, found, strict=True))

    def mean(of: Callable[[Any, Any], Any]) -> Any:
        return estimate_of_sums([float(of(ours, theirs).sum()) for ours, theirs in pairs], counts)

    losses = [[-_own(text, each).sum() for each in pair] for text, pair in zip(texts, pairs, strict=True)]
    own = estimate_of_sums([float(theirs) for _, theirs in losses], counts)
    ratio = estimate_of_sums([float(theirs - ours) for ours, theirs in losses], counts)
    return {
        "texts": len(counts),
        "tokens": sum(counts),
        "kl": mean(_divergence).as_json(),
        "kl_max": max(float(_divergence(ours, theirs).max()) for ours, theirs in pairs),
        "top_equal": mean(lambda ours, theirs: ours.argmax(-1) == theirs.argmax(-1)).as_json(),
        "perplexity": own.exponential().as_json(),
        "perplexity_ratio": ratio.exponential().as_json(),
    }


def _divergence(ours: Any, theirs: Any) -> Any:
    return (ours.exp() * (ours - theirs)).sum(-1)


def _own(text: Any, scores: Any) -> Any:
    """The log-probabilities of the text's own tokens."""
    import torch

    tokens = torch.tensor([text.ids[at] for at in text.counted])
    return scores.gather(1, tokens[:, None])
