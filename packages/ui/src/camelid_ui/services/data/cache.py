"""The token cache as the page shows it. Knows entries and sizes; knows no tokens."""

from __future__ import annotations

from camelid_core.token_cache import CacheEntry, TokenCache


class TokenCacheService:
    """Tokenised examples on disk, shared by every run on this machine."""

    def all(self) -> list[CacheEntry]:
        """The most recently used first."""
        return TokenCache().entries()

    def size(self) -> int:
        return sum(entry.bytes for entry in self.all())

    def prune(self, older_than_days: float | None = None, keep_bytes: int | None = None) -> int:
        """Deletes entries; gives the bytes freed."""
        return TokenCache().prune(older_than_days, keep_bytes)
