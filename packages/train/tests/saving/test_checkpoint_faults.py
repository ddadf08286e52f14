"""Checkpoints under kills, full disks and power cuts: the old one or the new one, and never a torn one."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import sys
import warnings
from pathlib import Path

import pytest
import torch
from camelid_core import integrity, staging
from camelid_core.errors import ArtefactError, DiskFull, NanLoss
from camelid_train.saving import checkpoint, disk_space
from camelid_train.saving.run_totals import RunTotals
from transformers import TrainerState


@pytest.fixture
def save(tmp_path):
    """Saves a step of something small that learns; the parameter says which step it was."""
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()

    def save(step, value=None, totals=None, **more):
        with torch.no_grad():
            model.weight.fill_(step if value is None else value)
        parts = (model, optimizer, scheduler, TrainerState(global_step=step), totals or RunTotals())
        return checkpoint.save(tmp_path / "checkpoints", step, *parts, **more)

    save.model, save.directory = model, tmp_path / "checkpoints"
    return save


def in_child(action) -> int:
    """Run `action` in a forked process; how it ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: forking with threads, none of them ours
        pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os._exit(3)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill_at_line(number: int, modules=(checkpoint, integrity, disk_space, staging)) -> None:
    """Kill this process when it comes to the `number`-th line of these modules that it had not been to."""
    files, seen = {module.__file__ for module in modules}, set()

    def trace(frame, event, _):
        if frame.f_code.co_filename not in files:
            return None
        if event == "line" and (frame.f_code, frame.f_lineno) not in seen:
            seen.add((frame.f_code, frame.f_lineno))
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_line_of_a_save_the_old_one_or_the_new_one_is_there(save, every):
    old, ends = save(1), set()
    for line in range(1, 1000, every):
        code = in_child(lambda line=line: (kill_at_line(line), save(2)))
        found = checkpoint.newest_valid([save.directory])
        ends.add(found.name)
        checkpoint.load_weights(found, save.model)
        assert save.model.weight[0, 0].item() == int(found.name[-1])
        staging.sweep(save.directory)
        assert {path.name for path in save.directory.iterdir()} <= {"step-00000001", "step-00000002"}
        shutil.rmtree(save.directory / "step-00000002", ignore_errors=True)
        assert checkpoint.is_valid(old)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert line > 40
    assert ends == {"step-00000001", "step-00000002"}


def test_after_a_power_cut_at_any_moment_the_old_one_or_the_new_one_is_there(save, tmp_path, monkeypatch):
    """Replays what reached the disk by each moment: files and names that were not synced are gone or zeros."""
    save(1)
    done = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(("sync", path, path.read_bytes() if path.is_file() else sorted(path.iterdir())))
        sync(descriptor)

    def replaced(self, target):
        done.append(("rename", self, Path(target)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    new = save(2)
    monkeypatch.undo()
    kinds = [kind for kind, *_ in done]
    publishing = kinds.index("rename", kinds.index("rename") + 1)  # the manifest's, then the directory's
    assert {path.name for kind, path, _ in done[:publishing] if kind == "sync"} >= {
        file.name for file in new.iterdir() if file.name != "checkpoint.json"
    }
    draft = done[publishing][1]
    assert done[publishing][2] == new
    assert done[-1][:2] == ("sync", save.directory)
    for moment in range(len(done) + 1):
        for lucky in (False, True):  # a rename that was not synced may have reached the disk, or not
            disk = tmp_path / f"disk-{moment}-{lucky}" / "checkpoints"
            shutil.copytree(save.directory / "step-00000001", disk / "step-00000001")
            whole = {path for kind, path, _ in done[:moment] if kind == "sync"}
            renamed = any(kind == "rename" and path == draft for kind, path, _ in done[:moment])
            if renamed and (lucky or ("sync", save.directory) in [each[:2] for each in done[publishing:moment]]):
                shutil.copytree(new, disk / "step-00000002")
                for file in (disk / "step-00000002").iterdir():
                    before = draft / file.name
                    partial = [path for path in whole if path.name.startswith(f".{file.name}.")]
                    if before not in whole and not partial:
                        file.write_bytes(bytes(file.stat().st_size))
            found = checkpoint.newest_valid([disk])
            assert found is not None, (moment, lucky)
            assert moment < len(done) or found.name == "step-00000002"


def test_a_disk_that_fills_up_in_the_middle_leaves_the_old_one_and_no_rubbish(save):
    old = save(1)
    before = {path.name: path.read_bytes() for path in old.iterdir()}

    def fill():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            save(2)
        except Exception as error:
            full = isinstance(error, OSError) and error.errno == errno.EFBIG
            os._exit(10 if full or os.strerror(errno.EFBIG) in str(error) else 11)

    assert in_child(fill) == 10
    assert [path.name for path in save.directory.iterdir()] == [old.name]
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before


def test_without_room_nothing_is_begun_and_the_bytes_needed_are_said(save, monkeypatch):
    old = save(1)
    free = shutil.disk_usage(save.directory)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(DiskFull, match=r"the checkpoint of step 2 needs 16,000,\d{3} bytes and .* has 1,000,000 left"):
        save(2)
    assert [path.name for path in save.directory.iterdir()] == [old.name]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_parameters_that_are_no_numbers_are_never_written(save, value):
    save(1)
    with pytest.raises(NanLoss, match="the parameter 'weight' became NaN or infinite"):
        save(2, value)
    assert checkpoint.newest_valid([save.directory]).name == "step-00000001"


def test_what_is_wrong_with_a_damaged_one_is_said(save):
    path, said = save(3), []
    older = save(1)
    data = (path / "optimizer.safetensors").read_bytes()
    (path / "optimizer.safetensors").write_bytes(bytes([data[0]]) + data[1:-1] + bytes([data[-1] ^ 1]))
    assert checkpoint.newest_valid([save.directory], lambda path, why: said.append((path, why))) == older
    assert said == [(path, "optimizer.safetensors is not as it was written")]
    (path / "optimizer.safetensors").unlink()
    assert checkpoint.damage(path) == "optimizer.safetensors is missing"


def test_a_header_that_claims_the_moon_is_refused_at_once(save):
    path = save(1)
    for name, content in (
        ("weights.safetensors", (1 << 40).to_bytes(8, "little") + b"{"),
        ("optimizer.safetensors", (1 << 63).to_bytes(8, "little")),
        ("random.safetensors", b"\0" * 8),
    ):
        (path / name).write_bytes(content)
    for load in (
        lambda: checkpoint.load_weights(path, save.model),
        lambda: checkpoint.load_optimizer(path, None, None),
        lambda: checkpoint.load_rng_state(path),
    ):
        with pytest.raises(ArtefactError, match="is no safetensors file"):
            load()


def test_the_newest_are_kept_over_all_attempts_and_so_is_the_best(save, tmp_path):
    earlier = tmp_path / "earlier"
    for step in (2, 4, 6):
        save(step, totals=RunTotals(best_step=2))
    save.directory.rename(earlier)
    (earlier / "step-00000006" / "tally.json").write_text("{")
    save(5, totals=RunTotals(best_step=2))
    both = [save.directory, earlier]
    checkpoint.prune(both, 5, keep=2, best=True)
    assert sorted(path.name[-1] for each in both for path in each.iterdir()) == ["2", "4", "5"]
    save(6, totals=RunTotals(best_step=6))
    checkpoint.prune(both, 6, keep=1, best=True)
    assert [path.name[-1] for each in both for path in each.iterdir()] == ["6"]


def test_one_that_is_there_already_is_not_written_again(save):
    path = save(1)
    written = (path / "checkpoint.json").stat().st_mtime_ns
    assert save(1) == path
    assert (path / "checkpoint.json").stat().st_mtime_ns == written
    (path / "checkpoint.json").write_text(json.dumps({"files": {}}))
    assert checkpoint.is_valid(save(1))
