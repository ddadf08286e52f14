"""A recipe's data section → tokenised examples, and an account of which rows were kept, truncated, divided or dropped.

Knows mixtures, the token cache and the cut-off. Knows nothing of batches or models. Rows stay on disk:
memory does not grow with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from camelid_core.artefacts import DatasetUse
from camelid_core.errors import DataError
from camelid_core.mixing import CountingProgress, MixedDataset, account_table, mix
from camelid_core.plugins import Host
from camelid_core.quality.row_filter import RowAccount
from camelid_core.records import Record
from camelid_core.templates.prompt_end import PromptEndTemplate
from camelid_core.token_cache import CutoffCounts, CutoffView, TokenCache
from camelid_core.token_cache.cache import EncodingProgress
from camelid_core.token_cache.encoded_dataset import EncodedDataset, drops_too_many
from camelid_core.tokenization.encoder import Encoder, Example

from .config import DataSection


@dataclass(slots=True)
class PreparedData:
    """Training and held-out examples; `account` counts the training rows, `mixture` those of each dataset.

    `notes` are sentences for people on what was done with the rows; `records` the held-out rows before tokenisation.
    `origin` finds the record that training example n was made of: it reads the datasets again, so it is for failures.
    """

    train: Sequence[Example]
    heldout: Sequence[Example]
    account: CutoffCounts
    datasets: list[DatasetUse] = field(default_factory=list)
    mixture: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: Sequence[Record] = ()
    origin: Callable[[int], Record] | None = None


def prepare(
    section: DataSection,
    encoder: Encoder,
    host: Host,
    progress: EncodingProgress | None = None,
    cache: TokenCache | None = None,
) -> PreparedData:
    """Mix, split, render and tokenise the datasets of the section; what is in the token cache is not tokenised again.

    Raises:
        DataError: no rows, no row with an answer left, or too many rows lost to the cut-off.
    """
    cache = cache or TokenCache()
    mixed = mix(section, host.datasets, section.eval_rows, _source_progress(progress), section.split_seed)
    digests, kept = SourceDigests(mixed), _Teaching()
    encoded = cache.encode(kept.filter(digests.records()), encoder, progress=progress, total=len(mixed))
    skip_long = section.too_long == "skip"
    train = encoded.view(section.cutoff, skip_long)
    _check_kept(train, section, encoder)
    ends = isinstance(encoder.template, PromptEndTemplate)
    if ends and train.counts.divided:
        raise DataError(_undividable(train.counts, section))
    heldout = cache.encode(_Teaching().filter(mixed.heldout), encoder)

    def origin(example: int) -> Record:
        return next(islice(_Teaching().filter(mixed.records()), int(train.rows[example]), None))

    uses, account = digests.uses(), account_table(mixed.account)
    texts = _text_notes(train.counts, section)
    notes = [*source_notes(mixed.account), *kept.notes(ends), *texts, *refusal_notes(encoded, heldout)]
    view = heldout.view(section.cutoff, skip_long)
    return PreparedData(train, view, train.counts, uses, account, notes, mixed.heldout, origin)


def training_records(section: DataSection, host: Host) -> Iterator[Record]:
    """The records that `prepare` tokenises for training, in that order."""
    mixed = mix(section, host.datasets, section.eval_rows, None, section.split_seed)
    return _Teaching().filter(mixed.records())


def source_notes(account: Sequence[RowAccount]) -> list[str]:
    """What reading each source changed or left unused, with the source's name."""
    return [f"{each.source}: {note}" for each in account for note in each.notes]


def refusal_notes(train: EncodedDataset, heldout: EncodedDataset) -> list[str]:
    """Which rows the template has no form for."""
    return [note for note in (train.refusal_note(), heldout.refusal_note("held-out row")) if note]


def _source_progress(progress: EncodingProgress | None) -> CountingProgress | None:
    """While sources are counted, the rows looked at so far are the progress."""
    return None if progress is None else lambda source, done, total: progress(done, total or None)


class _Teaching:
    """Leaves out rows that supervised fine-tuning must not or cannot learn from: answers labelled bad, which it would
    imitate, and empty texts, in which no token follows another."""

    def __init__(self) -> None:
        self._bad = self._empty = self._several = 0

    def filter(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            bad, empty = record.label is False, record.is_text and not record.messages[0].content.strip()
            self._bad += bad
            self._empty += empty
            if not (bad or empty):
                self._several += sum(message.role == "assistant" and message.trained for message in record.messages) > 1
                yield record

    def notes(self, last_alone: bool) -> Iterator[str]:
        """`last_alone` says that of each conversation the last answer alone can be learnt."""
        if last_alone and self._several:
            yield (
                f"{self._several:,} rows have several answers, of which the last alone is learnt: this model reads all "
                "before it in both directions. To learn every answer, make a row of each."
            )
        if self._bad:
            dropped = f"{self._bad:,} rows are marked as bad answers and were left out;"
            yield f'{dropped} objective.type="kto" learns from them.'
        if self._empty:
            yield f"{self._empty:,} empty {'texts were' if self._empty > 1 else 'text was'} left out."


def _text_notes(account: CutoffCounts, section: DataSection) -> Iterator[str]:
    """What is done with texts by themselves, where there are any."""
    if not account.texts:
        return
    rows = f"{account.texts:,} {'rows are texts' if account.texts > 1 else 'row is a text'} without turns"
    template = f"{section.template!r} (data.template)" if section.template else "the template"
    yield f"{rows}: every token is learnt, and {template} takes no part."
    if account.divided:
        yield (
            f"Texts of more than {section.cutoff:,} tokens (data.cutoff) were divided: {account.divided:,} into "
            f"{account.pieces:,} pieces. Nothing was cut off."
        )


def _undividable(account: CutoffCounts, section: DataSection) -> str:
    return (
        f"{account.divided:,} texts have more than {section.cutoff:,} tokens (data.cutoff), and texts for this model "
        "cannot be divided: each piece would have to begin as a prompt ends. Raise data.cutoff, make several rows of a "
        'text, or leave long ones out with data.too_long="skip".'
    )


class SourceDigests:
    """Counts and hashes (SHA-256) the rows of each dataset as they pass."""

    def __init__(self, mixed: MixedDataset) -> None:
        self._mixed = mixed
        self._hashes = [hashlib.sha256() for _ in mixed.datasets]
        self._rows = [0 for _ in mixed.datasets]

    def records(self) -> Iterator[Record]:
        for number, record in self._mixed.items():
            digest = self._hashes[number]
            for message in record.messages:
                text = "\x1f".join((message.role, message.content, message.context, ""))
                digest.update(text.encode("utf-8", "surrogatepass"))
                if not message.trained:
                    digest.update(b"\x1c")
            if record.rejected is not None or record.label is not None:
                digest.update(f"\x1d{record.rejected}\x1f{record.label}".encode("utf-8", "surrogatepass"))
            digest.update(b"\x1e")
            self._rows[number] += 1
            yield record

    def uses(self) -> list[DatasetUse]:
        return [
            DatasetUse(
                id=account.source,
                rows=rows,
                sha256=digest.hexdigest(),
                licence=dataset.licence,
                generator=list(dataset.generator),
            )
            for account, dataset, digest, rows in zip(
                self._mixed.account, self._mixed.datasets, self._hashes, self._rows, strict=True
            )
        ]


def _check_kept(view: CutoffView, section: DataSection, encoder: Encoder) -> None:
    names, account = ", ".join(section.sources), view.counts
    if not account.rows:
        raise DataError(f"{names}: no rows to train on.")
    if len(view) and not drops_too_many(account.dropped + account.refused, account.rows):
        return
    if 2 * account.refused > account.dropped:
        raise DataError(f"{names}: {refused_rows_message(view.encoded)}")
    # whatever the cut-off: the template marks nothing of them
    unlabelled = int((view.encoded.trained == 0).sum()) - account.refused
    if 2 * unlabelled > account.dropped:
        raise DataError(
            f"{names}: template {encoder.template.name!r} marks nothing to learn in {unlabelled:,} of {account.rows:,} "
            "rows. Choose another template in data.template."
        )
    raise DataError(f"{names}: {dropped_rows_message(account, section)}")


def refused_rows_message(encoded: EncodedDataset) -> str:
    """The message where the template has no form for so many rows, and what to do."""
    return (
        f"the template has no form for {encoded.refused:,} of {len(encoded):,} rows: "
        f"{encoded.refusals[0].rstrip('.')}. Many templates take several turns of one role in a row and later system "
        'messages: choose one in data.template. Or leave such rows out: data.drop_lints=["role-order"].'
    )


def dropped_rows_message(account: CutoffCounts, section: DataSection) -> str:
    """The message for a cut-off that drops so many rows, and what to do."""
    some = f"{account.dropped:,} of {account.rows:,} rows"
    if section.too_long == "skip":
        return f'{some} are longer than {section.cutoff} tokens. Raise data.cutoff, or set data.too_long="cut".'
    where = f"within the cut-off of {section.cutoff} tokens"
    return f"{some} have no answer left {where}. Raise data.cutoff, or shorten the prompts."
