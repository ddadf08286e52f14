"""Tokenised examples on disk: made once, shared by runs and ranks, cut off only when read.

cache = TokenCache()
encoded = cache.encode(records, Encoder(tokenizer, template))   # finished shards are taken from the disk
view = encoded.view(cutoff=512)                                 # a sequence of examples, and view.account
counts = measure(dataset, encoder, cache, cutoff=512)           # what would become of a dataset
"""

from .cache import Entry, TokenCache
from .encoded_dataset import Account, Encoded, View
from .token_counts import measure

__all__ = ["Account", "Encoded", "Entry", "TokenCache", "View", "measure"]
