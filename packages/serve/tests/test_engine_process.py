"""A model in the engine process: streaming, cancellation, a process that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from camelid_core.errors import CamelidError, ModelError, TemplateError
from camelid_core.records import Message
from camelid_core.testing import shadow_every_module
from camelid_serve.engine import Sampling
from camelid_serve.engine_process import child_process
from camelid_serve.engine_process.client import EngineProcess
from camelid_serve.generation import generate
from camelid_serve.loaded_models import LoadedModel

pytestmark = pytest.mark.slow

HELLO = [Message("user", "Hello?")]
LONG = Sampling(max_new_tokens=480)
ENDLESS = Sampling(max_new_tokens=60_000)
"""For the model that never ends: minutes."""


@pytest.fixture(scope="module")
def sprung_traps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], set[str]]]:
    """The traps of the working directory that were stepped on."""
    there = tmp_path_factory.mktemp("downloaded")
    with chdir(there):
        yield shadow_every_module(there)


@pytest.fixture(scope="module")
def process(adapter: Path, sprung_traps: Callable[[], set[str]]) -> Iterator[EngineProcess]:
    with EngineProcess() as process:
        progress = list(process.load_all({str(adapter): str(adapter)}))
        assert any("Reading" in each.text for each in progress)
        read = [each for each in progress if each.file]
        assert {each.file for each in read} == {"model.safetensors"}
        assert 0 < read[-1].done == read[-1].total
        assert sprung_traps() == set()
        yield process


@pytest.fixture
def endless_label(process: EngineProcess, endless: Path) -> Iterator[str]:
    """The label of a model that never ends, beside the others."""
    process.add("endless", str(endless))
    yield "endless"
    process.remove("endless")


def pid_of(process: EngineProcess) -> int:
    assert process._child is not None
    return process._child.pid


def test_loaded_models_are_reported(process: EngineProcess, adapter: Path) -> None:
    assert process.loaded is not None
    assert process.loaded.model == str(adapter)
    assert process.loaded.has_adapter
    assert (process.loaded.template, process.loaded.context_length) == ("alpaca", 512)


@pytest.mark.parametrize("with_adapter", [True, False])
def test_answers_equal_those_of_an_engine_in_this_process(
    process: EngineProcess, tuned: LoadedModel, with_adapter: bool
) -> None:
    sampling = Sampling(max_new_tokens=20)
    events = list(process.chat(HELLO, sampling, tuned=with_adapter))
    here = list(generate(tuned, [tuned.prompt_ids(HELLO)], sampling, with_adapter))[-1]
    assert "".join(event.text for event in events) == events[-1].answer == here.answer
    assert events[-1].stats is not None
    assert events[-1].stats.tokens == 20


def test_several_answers_at_once(process: EngineProcess) -> None:
    alone = list(process.chat(HELLO, Sampling(max_new_tokens=40)))[-1].answer
    answers: list[str] = []

    def one(side: bool) -> None:
        answers.append(list(process.chat(HELLO, Sampling(max_new_tokens=40), tuned=side))[-1].answer)

    threads = [threading.Thread(target=one, args=(n % 3 > 0,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers).count(alone) == 4


def test_cancel_ends_an_answer_with_the_text_so_far(process: EngineProcess, endless_label: str) -> None:
    reply = process.chat(HELLO, ENDLESS, model=endless_label)
    events = []
    for event in reply:
        events.append(event)
        reply.cancel()
    stats = events[-1].stats
    assert stats is not None
    assert stats.finish == "cancelled"
    assert stats.tokens < ENDLESS.max_new_tokens


def test_errors_cross_the_pipe_with_their_class(process: EngineProcess) -> None:
    with pytest.raises(TemplateError):
        list(process.chat([*HELLO, *HELLO]))
    with pytest.raises(CamelidError, match="alpaca"):
        list(process.chat(HELLO, template="alpacca"))
    with pytest.raises(ModelError, match="Shorten"):
        list(process.chat([Message("user", "word " * 3000)]))
    assert list(process.chat(HELLO, Sampling(max_new_tokens=2), template="vicuna"))


def test_models_are_added_and_removed(process: EngineProcess, base: Path, adapter: Path) -> None:
    tuned, bare = (
        list(process.chat(HELLO, Sampling(max_new_tokens=9), tuned=side))[-1].answer for side in (True, False)
    )
    running = process.chat(HELLO, LONG)
    added = process.add("plain", str(base), share=True)
    assert (added.has_adapter, list(process.models)) == (False, [str(adapter), "plain"])
    assert list(process.chat(HELLO, Sampling(max_new_tokens=9), model="plain"))[-1].answer == bare
    for call, words in (
        (lambda: process.add("plain", str(adapter)), "choose another label"),
        (lambda: process.add("more", "no-such-model"), "is not known"),
        (lambda: process.remove("more"), "is not known"),
        (lambda: list(process.chat(HELLO, model="more")), "not loaded"),
    ):
        with pytest.raises(CamelidError, match=words):
            call()
    process.remove(str(adapter))
    assert list(process.models) == ["plain"]
    process.add(str(adapter), str(adapter))
    process.remove("plain")
    assert list(process.chat(HELLO, Sampling(max_new_tokens=9)))[-1].answer == tuned
    stats = list(running)[-1].stats
    assert stats is not None
    assert stats.tokens > 400


def test_it_runs_in_a_session_of_its_own_without_secrets(
    process: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert os.getsid(pid_of(process)) != os.getsid(0)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("MY_API_KEY", "secret")
    with EngineProcess() as other:
        with pytest.raises(CamelidError):
            list(other.load_all({"it": "no-such-model"}))
        seen = psutil.Process(pid_of(other)).environ()
    assert not {"HF_TOKEN", "MY_API_KEY"} & set(seen)
    assert seen["OMP_WAIT_POLICY"] == "PASSIVE"


def test_no_model_loaded_is_an_error() -> None:
    with EngineProcess() as process:
        with pytest.raises(ModelError, match="load one first"):
            process.chat(HELLO)
        with pytest.raises(CamelidError, match="is not known"):
            list(process.load_all({"it": "no-such-model"}))
        assert process.loaded is None


def test_a_dead_process_is_an_error_and_loading_starts_another(endless: Path) -> None:
    with EngineProcess() as process:
        list(process.load_all({"it": str(endless)}))
        reply = process.chat(HELLO, ENDLESS)
        next(reply)
        os.kill(pid_of(process), signal.SIGKILL)
        with pytest.raises(ModelError, match="load the model again"):
            list(reply)
        assert not process.alive
        with pytest.raises(ModelError, match="load the model again"):
            list(process.chat(HELLO))
        list(process.load_all({"it": str(endless)}))
        assert list(process.chat(HELLO, Sampling(max_new_tokens=2)))


DEAF = """
import ctypes, os
from camelid_serve.engine_process.host import main
from camelid_serve.testing import StubModels

class Deaf(StubModels):
    def load(self, names, host, how, report):
        report("Loading")
        # with the interpreter's lock, as libraries hold it while they read weights
        ctypes.PyDLL(None).system(f"touch '{os.environ['PYTHONPATH']}/deaf'; exec sleep 600".encode())

main(Deaf())
"""


def test_closing_during_loading_ends_all_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child does not read its stdin any more, nor see that it ends."""
    (tmp_path / "deaf.py").write_text(DEAF, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(child_process, "_CLOSE_SECONDS", 0.3)
    process = EngineProcess("deaf")
    loading = process.load_all({"it": "model"})
    assert next(loading).text == "Loading"
    pid, told = pid_of(process), list[str]()
    while not (tmp_path / "deaf").exists():
        time.sleep(0.01)

    def wait_for(action: Callable[[], Any]) -> threading.Thread:
        def wait() -> None:
            try:
                action()
            except ModelError as error:
                told.append(str(error))

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread

    long = [Message("user", "word " * 200_000)]
    waiting = [wait_for(action) for action in (lambda: next(loading), lambda: list(process.chat(long)))]
    while not process._child._write_lock.locked():  # type: ignore[union-attr]
        time.sleep(0.01)
    waiting.append(wait_for(process.close))
    try:
        for thread in waiting:
            thread.join(60)
            assert not thread.is_alive()
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert told == ["the model was unloaded; load it again."] * 2
    assert not psutil.pid_exists(pid)
    assert (process.loaded, process.alive) == (None, False)


def test_it_dies_with_its_parent(base: Path) -> None:
    script = (
        "import os, sys\nfrom camelid_serve.engine_process.client import EngineProcess\n"
        f"process = EngineProcess()\nlist(process.load_all({{'it': {str(base)!r}}}))\n"
        "print(process._child.pid, flush=True)\nos._exit(0)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    deadline = time.monotonic() + 240
    while runs(int(parent.stdout)):
        assert time.monotonic() < deadline, "the engine outlived its parent"
        time.sleep(0.05)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
