from __future__ import annotations

from pathlib import Path

import pytest
from camelid_core.models.conversion import convert_checkpoint
from camelid_core.plugins import load_host
from camelid_core.testing import isolated_home

from .originals import make_chatglm


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def convert():
    """`convert(source, output)`: what `camelid models convert` does."""

    def run(source: Path, output: Path) -> Path:
        convert_checkpoint(source, output, load_host(), lambda _: None, lambda *_: None)
        return output

    return run


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    return make_chatglm(tmp_path_factory.mktemp("original") / "chatglm-6b")


@pytest.fixture(scope="session")
def converted(convert, original, tmp_path_factory) -> Path:
    return convert(original, tmp_path_factory.mktemp("converted") / "chatglm")
