"""What the tests of this plugin share: waiting, and running a prediction in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from camelid_core.jobs.attempt import AttemptContext
from camelid_core.plugins import load_host
from camelid_serve.config import PredictConfig
from camelid_serve.predict.inputs import PREDICTIONS
from camelid_serve.predict.task import run

PATIENCE = 600.0
STUB = "stub-engine==1=stub_engine"


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def run_here(config: PredictConfig, directory: Path, monkeypatch) -> bytes:
    """The answered rows as one process gives them."""
    monkeypatch.setenv("CAMELID_PLUGINS", STUB)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    load_host.cache_clear()
    place = directory / "runs" / "000001" / "1"
    place.mkdir(parents=True)
    context = AttemptContext(place)
    run(config, context)
    context.close()
    load_host.cache_clear()
    return (context.output / PREDICTIONS).read_bytes()
