"""From the name of a source to its dataset: registered, added, of the Hub, or a file.

Knows where datasets are found. Reads no row.
"""

from __future__ import annotations

from collections.abc import Iterable

from camelid_core.errors import DataError, UnknownName
from camelid_core.paths import HUB_PREFIX, is_existing_path, validated_path
from camelid_core.registry import Registry

from . import library
from .dataset import Dataset, Source
from .files import file_dataset


def parse_sources(texts: Iterable[str], datasets: Registry[Dataset]) -> list[Source]:
    """Every source that `texts` name. `a+b:0.5` names two, unless a dataset or a file has that very name."""
    return [source for text in texts for source in _split_sources(text, datasets)]


def _split_sources(text: str, datasets: Registry[Dataset]) -> list[Source]:
    whole = Source.parse(text)
    if "+" not in text or _exists(whole.name, datasets):
        return [whole]
    return [Source.parse(part.strip()) for part in text.split("+")]


def _exists(name: str, datasets: Registry[Dataset]) -> bool:
    return name in datasets or is_existing_path(name)


def open_dataset(name: str, datasets: Registry[Dataset]) -> Dataset:
    """The dataset of that name, registered or added; else the file at that path; else the dataset with that alias.

    `hf:ORG/NAME` is a dataset of the Hub and nothing else.

    Raises:
        UnknownName: neither a dataset nor a file, with the nearest known name.
        DataError: the path is there but no data file.
    """
    if name.startswith(HUB_PREFIX):
        from .hub import hub_dataset

        return hub_dataset(name)
    if name in datasets:
        return datasets[name]
    if library.has(name):
        return library.get(name)
    path = validated_path(name, "dataset")
    if path.is_file():
        return file_dataset(path)
    if path.exists():
        raise DataError(f"{name!r} is a directory; name a data file in it.")
    for dataset in datasets:
        if path.name in dataset.aliases:
            return dataset
    raise UnknownName("dataset", name, [item.name for item in all_datasets(datasets)], datasets.listing)


def all_datasets(datasets: Registry[Dataset]) -> list[Dataset]:
    """The library, the latest first, then the datasets of core and plugins."""
    return [*(item for item in library.added() if item.name not in datasets), *datasets]
