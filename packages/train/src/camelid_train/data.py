"""A recipe's data section → tokenised examples, and an honest account of what was kept.

Knows mixtures, the token cache and the cut-off. Knows nothing of batches or models. Rows stay on disk:
memory does not grow with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from camelid_core.artefacts import DatasetUse
from camelid_core.errors import DataError
from camelid_core.mixing import Mixed, lines, mix
from camelid_core.plugins import Host
from camelid_core.records import Record
from camelid_core.tokencache import Account, TokenCache, View
from camelid_core.tokencache.cache import Progress
from camelid_core.tokenizing import Encoder, Example

from .config import DataSection

_MOST_DROPPED = 0.3


@dataclass(slots=True)
class Prepared:
    """Examples to train and to measure on; `account` is of the training rows, `mixture` of each source's."""

    train: Sequence[Example]
    heldout: Sequence[Example]
    account: Account
    datasets: list[DatasetUse] = field(default_factory=list)
    mixture: list[dict[str, object]] = field(default_factory=list)


def prepare(
    section: DataSection,
    encoder: Encoder,
    host: Host,
    progress: Progress | None = None,
    cache: TokenCache | None = None,
) -> Prepared:
    """Mix, split, render and tokenise what the section names; what the cache has is not made again.

    Raises:
        DataError: no rows, no row with an answer left, or too many rows lost to the cut-off.
    """
    cache = cache or TokenCache()
    mixed = mix(section, host.datasets, section.eval_rows, split_seed=section.split_seed)
    digests = _Digests(mixed)
    encoded = cache.encode(digests.records(), encoder, progress=progress, total=len(mixed))
    train = encoded.view(section.cutoff)
    _check(train, section, encoder)
    heldout = cache.encode(mixed.heldout, encoder).view(section.cutoff)
    return Prepared(train, heldout, train.account, digests.uses(), lines(mixed.account))


class _Digests:
    """What went in from each source: its rows are counted and hashed as they pass."""

    def __init__(self, mixed: Mixed) -> None:
        self._mixed = mixed
        self._sums = [hashlib.sha256() for _ in mixed.datasets]
        self._rows = [0 for _ in mixed.datasets]

    def records(self) -> Iterator[Record]:
        for number, record in self._mixed.items():
            digest = self._sums[number]
            for message in record.messages:
                text = "\x1f".join((message.role, message.content, message.context, ""))
                digest.update(text.encode("utf-8", "surrogatepass"))
            digest.update(b"\x1e")
            self._rows[number] += 1
            yield record

    def uses(self) -> list[DatasetUse]:
        return [
            DatasetUse(id=account.source, rows=rows, sha256=digest.hexdigest(), licence=dataset.licence)
            for account, dataset, digest, rows in zip(
                self._mixed.account, self._mixed.datasets, self._sums, self._rows, strict=True
            )
        ]


def _check(view: View, section: DataSection, encoder: Encoder) -> None:
    names, account = ", ".join(section.sources), view.account
    if not account.rows:
        raise DataError(f"{names}: no rows to train on.")
    if account.dropped <= _MOST_DROPPED * account.rows and len(view):
        return
    never = int((view.encoded.trained == 0).sum())  # whatever the cut-off: the template marks nothing of them
    if 2 * never > account.dropped:
        raise DataError(
            f"{names}: template {encoder.template.name!r} marks nothing to learn in {never:,} of {account.rows:,} "
            "rows. Choose another template in data.template."
        )
    raise DataError(
        f"{names}: {account.dropped:,} of {account.rows:,} rows have no answer left within the cut-off of "
        f"{section.cutoff} tokens. Raise data.cutoff, or shorten the prompts."
    )
