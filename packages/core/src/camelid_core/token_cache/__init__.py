"""The token cache: tokenised examples on disk, made once, shared by runs and ranks, cut off only when read.

cache = TokenCache()
encoded = cache.encode(records, Encoder(tokenizer, template))   # finished shards are read from disk
view = encoded.view(cutoff=512)                                 # a sequence of examples, and view.counts
counts = measure(dataset, encoder, cache, cutoff=512)           # token counts of a dataset
"""

from .cache import CacheEntry, TokenCache
from .encoded_dataset import CutoffCounts, CutoffView, EncodedDataset
from .token_counts import count_tokens

__all__ = ["CacheEntry", "CutoffCounts", "CutoffView", "EncodedDataset", "TokenCache", "count_tokens"]
