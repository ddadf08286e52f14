"""What the door refuses, each with a sentence, and what it takes from a machine that holds a job."""

from __future__ import annotations

import hashlib
import stat
import time
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from camelid_core.artefacts import Manifest, write_manifest
from camelid_core.errors import DiskFull, JobError, StaleAttempt, UnknownName, UsageError
from camelid_core.integrity import write_durably
from camelid_core.jobs.job import JobState
from camelid_core.jobs.stop_signals import StopSignal
from camelid_core.machines import protocol, remote_store
from camelid_core.machines.agent import Agent
from camelid_core.machines.content_store import ContentStore
from camelid_core.machines.file_hashes import FileHashes
from camelid_core.machines.join_address import JoinAddress, ServerUnreachable, WrongCertificate
from camelid_core.machines.machine import machines, revoke_machine
from camelid_core.machines.protocol import PIECE_BYTES, FileContent, Result, State
from camelid_core.machines.remote_store import MachineRefused, RemoteStore
from camelid_serve.machines import received_files
from camelid_serve.machines.certificate import server_identity


@pytest.fixture
def joined(open_door):
    """A client of the door for each name, said hello."""
    clients = []

    def join(name, token=""):
        store = RemoteStore(
            JoinAddress.parse(open_door.url), token or open_door.token(name), lambda: {"tasks": ["tick"]}
        )
        clients.append(store)
        store.hello()
        return store

    yield join
    for client in clients:
        client.close()


def content(data: bytes) -> FileContent:
    return FileContent(size=len(data), sha256=hashlib.sha256(data).hexdigest())


@pytest.fixture
def sent(tmp_path):
    def send(client, job, data: bytes, said: FileContent | None = None):
        path = tmp_path / "sent"
        write_durably(path, data)
        client.send_content(job, path, said or content(data), lambda: None)

    return send


def test_a_token_that_is_wrong_or_revoked_is_refused(open_door, joined):
    with pytest.raises(MachineRefused, match="not let in"):
        joined("box", token="wrong")
    client = joined("box")
    job = open_door.store.submit("tick", {})
    held = client.claim()
    assert held.id == job.id
    assert machines(open_door.store)[0].jobs == (job.id,)
    assert revoke_machine(open_door.store, "box") == (job.id,)
    assert open_door.store.get(job.id).state in (JobState.LOST, JobState.QUEUED)
    with pytest.raises(MachineRefused, match="camelid machines add"):
        client.claim()
    with pytest.raises(StaleAttempt):
        client.heartbeat(held)
    with pytest.raises(UnknownName):
        revoke_machine(open_door.store, "box")
    assert open_door.token("box"), "a name that was revoked is free again"
    with pytest.raises(UsageError, match="there is a machine"):
        open_door.token("box")


def test_another_certificate_is_refused_before_anything_is_sent(open_door):
    address = replace(JoinAddress.parse(open_door.url), fingerprint="0" * 64)
    with pytest.raises(WrongCertificate, match="Nothing was sent"):
        RemoteStore(address, "token", dict)
    for words in ("http://10.0.0.1:80", "https://host:1/abc", "ftp://x:1", "https://h:x/", "host"):
        with pytest.raises(UsageError):
            JoinAddress.parse(words)
    assert JoinAddress.parse("http://127.0.0.1:8470").fingerprint == ""
    key = server_identity(open_door.home).key
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert server_identity(open_door.home) == server_identity(open_door.home)


def test_another_version_is_refused_with_what_to_install(joined, monkeypatch):
    monkeypatch.setattr(remote_store, "own_version", lambda: "99.0.0")
    with pytest.raises(MachineRefused, match=r"pip install 'camelid-core=="):
        joined("box")
    monkeypatch.undo()
    monkeypatch.setattr(remote_store, "PROTOCOL", protocol.PROTOCOL + 1)
    with pytest.raises(MachineRefused, match="protocol"):
        joined("box2")


def test_a_machine_reaches_the_jobs_that_it_holds_and_what_they_read_alone(open_door, joined, tmp_path, sent):
    secret, given = tmp_path / "secret.txt", tmp_path / "given.txt"
    secret.write_text("secret")
    given.write_text("given")
    open_door.store.submit("tick", {"reads": str(given)})
    open_door.store.submit("tick", {"reads": str(secret)})
    mine, other = joined("mine"), joined("other")
    job, theirs = mine.claim(), other.claim()
    other.inputs(theirs)
    (tree,) = mine.inputs(job).trees
    assert (tree.source, tree.files) == (str(tmp_path), {"given.txt": content(b"given")}), "the file, and no neighbour"
    with mine.content(job, content(b"given").sha256, 2) as chunks:
        assert b"".join(chunks) == b"ven"
    for asked in (job, theirs):
        with pytest.raises(JobError), mine.content(asked, content(b"secret").sha256, 0):
            pass
    for act in (
        lambda: mine.inputs(theirs), lambda: mine.heartbeat(theirs), lambda: mine.release(theirs),
        lambda: mine.keep(theirs, State(files={})), lambda: mine.append(theirs, "log.txt", 0, b"x"),
        lambda: sent(mine, theirs, b"x"), lambda: mine.publish(theirs, Result(files={})),
        lambda: mine.finish(theirs, JobState.FAILED, "no", "", {}), lambda: mine.heartbeat(replace(job, epoch=2)),
        lambda: mine.heartbeat(replace(job, id=10**30)),
    ):  # fmt: skip
        with pytest.raises(StaleAttempt):
            act()
    assert open_door.store.get(theirs.id).state == JobState.CLAIMED


NAMES = [
    "../x", "/etc/passwd", "a/../../x", "a//b", ".", "..", "a/./b", "a\\..\\b", "x\0", "a\n", "/".join("a" * 20),
    "output/x", "result.json", "placed.json", "process.json", "é" * 300,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_the_attempt(open_door, joined, sent, name):
    open_door.store.submit("tick", {})
    client = joined("box")
    job = client.claim()
    sent(client, job, b"x")
    before = sorted(open_door.home.rglob("*"))
    for act in (
        lambda: client.keep(job, State(files={name: content(b"x")})),
        lambda: client.keep(job, State(files={}, gone=[f"1/{name}"])),
        lambda: client.keep(job, State(files={}, gone=[f"0/{name}"])),
        lambda: client.append(job, f"{name}/x.jsonl", 0, b"x"),
    ):
        with pytest.raises(JobError):
            act()
    with pytest.raises(JobError):
        client.append(job, "../2/log.txt", 0, b"x")
    assert sorted(open_door.home.rglob("*")) == before


def test_a_link_in_an_attempt_is_not_followed(open_door, joined, sent, tmp_path):
    open_door.store.submit("tick", {})
    client = joined("box")
    job = client.claim()
    (open_door.attempt(job) / "out").symlink_to(tmp_path)
    sent(client, job, b"x")
    for act in (
        lambda: client.keep(job, State(files={"out/x": content(b"x")})),
        lambda: client.append(job, "out/x.jsonl", 0, b"x"),
    ):
        with pytest.raises(JobError, match="through a link"):
            act()
    assert not (tmp_path / "x").exists()


def test_what_is_too_large_or_not_what_it_says_is_refused(open_door, joined, sent, monkeypatch):
    open_door.store.submit("tick", {})
    client = joined("box")
    job = client.claim()
    with pytest.raises((JobError, ServerUnreachable)):
        client.append(job, "log.txt", 0, b"x" * (PIECE_BYTES + 1))
    with pytest.raises(JobError, match="not the one with SHA-256"):
        sent(client, job, b"other", content(b"wrong"))
    with pytest.raises(JobError, match="has no"):
        sent(client, job, b"longer than said", FileContent(size=2, sha256="0" * 64))
    with pytest.raises(JobError, match="no State message"):
        client._send("POST", f"/v1/jobs/{job.id}/1/state", b'{"files": {"x": {"size": -1, "sha256": "no"}}}')
    with pytest.raises(JobError, match="is no log"):
        client.append(job, "weights.safetensors", 0, b"x")
    monkeypatch.setattr(received_files, "SPARE_DISK_BYTES", 1 << 60)
    with pytest.raises(DiskFull, match="The server's disk"):
        sent(client, job, b"x")


def test_requests_without_a_token_and_to_other_paths_get_a_sentence(open_door):
    context = JoinAddress.parse(open_door.url).tls()
    with httpx.Client(base_url=f"https://127.0.0.1:{open_door.port}", verify=context) as client:
        for method, path, status in (
            ("POST", "/v1/claim", 401), ("GET", "/v1/jobs/1/1/inputs", 401), ("GET", "/", 404), ("GET", "/v1/x", 404),
            ("POST", "/v1/claim?token=x", 401), ("DELETE", "/v1/claim", 405),
        ):  # fmt: skip
            response = client.request(method, path)
            assert response.status_code == status, path
        refused = client.post("/v1/claim").json()
        assert refused["kind"] == "token"
        assert "camelid machines add" in refused["error"]


def test_contents_go_on_where_they_broke_off(open_door, joined, tmp_path, monkeypatch):
    open_door.store.submit("tick", {})
    client = joined("box")
    job = client.claim()
    data = bytes(range(256)) * 64
    path = tmp_path / "checkpoint"
    path.write_bytes(data)
    monkeypatch.setattr(remote_store, "PIECE_BYTES", 1000)
    received = []

    def cut():
        received.append(1)
        if len(received) == 5:
            raise ServerUnreachable("cut")

    with pytest.raises(ServerUnreachable):
        client.send_content(job, path, content(data), cut)
    again = []
    client.send_content(job, path, content(data), lambda: again.append(1))
    assert len(again) == 12, "of 17 pieces 5 were there already"
    assert client.keep(job, State(files={"checkpoints/step-2/weights": content(data)})) == []
    assert (open_door.attempt(job) / "checkpoints/step-2/weights").read_bytes() == data
    assert not list(open_door.home.rglob(".received")), "nothing is kept twice"


def test_what_is_kept_is_what_the_attempt_says(open_door, joined, sent):
    open_door.store.submit("tick", {})
    client = joined("box")
    job = client.claim()
    first = {"step-1/a": content(b"a"), "step-1/deep/b": content(b"b"), "state.json": content(b"1")}
    assert client.keep(job, State(files=first)) == sorted(each.sha256 for each in first.values())
    assert list(open_door.attempt(job).iterdir()) == [], "nothing appears before all of it is here"
    for data in (b"a", b"b", b"1"):
        sent(client, job, data)
    assert client.keep(job, State(files=first)) == []
    second = {"step-2/a": content(b"a"), "state.json": content(b"2")}
    assert client.keep(job, State(files=second)) == sorted([content(b"2").sha256, content(b"a").sha256])
    assert (open_door.attempt(job) / "step-1/deep/b").exists()
    for data in (b"a", b"2"):
        sent(client, job, data)
    client.append(job, "work.jsonl", 0, b"line\n")
    assert client.keep(job, State(files=second)) == []
    found = {path.relative_to(open_door.attempt(job)).as_posix() for path in open_door.attempt(job).rglob("*")}
    assert found == {"step-2", "step-2/a", "state.json", "work.jsonl"}
    client.append(job, "work.jsonl", 2, b"st\n")
    assert (open_door.attempt(job) / "work.jsonl").read_bytes() == b"list\n"
    with pytest.raises(remote_store.PieceRefused):
        client.append(job, "work.jsonl", 50, b"x")
    client.release(job)
    later = client.claim()
    assert set(client.inputs(later).earlier[1]) == {"step-2/a", "state.json", "work.jsonl"}
    client.keep(later, State(files={}, gone=["1/step-2/a"]))
    assert not (open_door.attempt(job) / "step-2").exists()


def test_a_result_with_a_file_that_its_manifest_does_not_list_is_the_jobs_error(
    open_door, joined, sent, ticking, tmp_path
):
    open_door.store.submit("tick", {}, "mine")
    client = joined("box")
    job = client.start(client.claim())
    (tmp_path / "made").mkdir()
    manifest = write_manifest(tmp_path / "made", Manifest(kind="evaluation")).path / "camelid.json"
    files = {"camelid.json": content(manifest.read_bytes()), "stray.txt": content(b"stray")}
    for data in (manifest.read_bytes(), b"stray"):
        sent(client, job, data)
    answer = client.publish(job, Result(files=files))
    assert (answer.job["state"], answer.job["error_kind"]) == ("failed", "artefact_error")
    assert "does not list: 'stray.txt'" in answer.job["error"]
    assert not (open_door.home / "artefacts").exists()


def test_an_answer_that_was_lost_is_given_again(open_door, joined):
    open_door.store.submit("tick", {})
    client = joined("box")
    lost = client.claim()
    again = client.claim()
    assert (again.id, again.epoch, again.retries) == (lost.id, lost.epoch + 1, 0), (
        "what was leased is leased anew at once"
    )
    assert client.start(again).state == client.start(again).state == JobState.RUNNING
    for _ in range(2):
        assert client.finish(again, JobState.FAILED, "no", "crash", {}).state == JobState.FAILED


def test_jobs_that_need_this_machine_stay_here_and_it_is_said_why(open_door, joined, ticking, capsys):
    stays = replace(ticking.TICK, name="stays", portable=False)
    open_door.jobs._host().tasks["stays"] = stays
    for task in ("stays", "unknown", "tick"):
        open_door.store.submit(task, {})
    client = joined("box")
    client._describe = lambda: {"tasks": ["tick", "stays"]}
    assert client.claim().task == "tick"
    assert client.claim().task == "tick", "the others are for this machine"
    assert {job.task for job in open_door.store.due()} == {"stays", "unknown"}
    assert capsys.readouterr().err.count("waits for `camelid worker` here: stays jobs run on this machine alone") == 1


def test_a_place_that_is_occupied_is_said_before_the_work(open_door, joined, tmp_path):
    (tmp_path / "full" / "x").mkdir(parents=True)
    job = open_door.store.submit("tick", {"output": str(tmp_path / "full")})
    assert joined("box").claim() is None
    done = open_door.store.get(job.id)
    assert done.state == JobState.FAILED
    assert "exists already" in done.error


def test_a_job_can_be_cancelled_while_its_inputs_are_fetched(open_door, joined, tmp_path, ticking, monkeypatch):
    given = tmp_path / "large.txt"
    given.write_bytes(b"x" * 5000)
    job = open_door.store.submit("tick", {"reads": str(given)})
    client = joined("box")

    @contextmanager
    def slow(*_):
        def chunks():
            open_door.store.request(job.id, "cancel")
            while True:
                time.sleep(0.05)
                yield b""

        yield chunks()

    monkeypatch.setattr(client, "content", slow)
    agent = Agent(client, tmp_path / "agent", open_door.host, lambda text: None)
    assert agent.run_once(StopSignal()).state == JobState.CANCELLED
    done = open_door.store.get(job.id)
    assert (done.state, done.error) == (JobState.CANCELLED, "Cancelled before it began.")
    other = open_door.store.submit("tick", {"reads": str(given)})
    stop = StopSignal()
    stop()
    assert agent.run_once(stop).state == JobState.QUEUED
    assert open_door.store.get(other.id).retries == 0


def test_contents_are_fetched_once_and_verified(tmp_path):
    contents = ContentStore(tmp_path / "contents", FileHashes())
    data = b"0123456789" * 100
    asked = []

    def download(broken=None, wrong=False):
        @contextmanager
        def from_byte(offset):
            asked.append(offset)
            yield iter([b"?" * len(data) if wrong else data[offset:broken]])

        return from_byte

    with pytest.raises(JobError, match="broke off at 300"):
        contents.fetch(content(data), [], download(300))
    path = contents.fetch(content(data), [], download())
    assert (path.read_bytes(), asked) == (data, [0, 300])
    assert contents.fetch(content(data), [], download()) == path
    assert asked == [0, 300]
    with pytest.raises(JobError, match="changed on the server"):
        contents.fetch(content(b"other" * 200), [], download(wrong=True))
    mine = tmp_path / "mine"
    mine.write_bytes(b"here already")
    assert contents.fetch(content(b"here already"), [tmp_path / "no", mine], download()).read_bytes() == b"here already"
    assert len(asked) == 3, "what this machine has is not sent"
    path.chmod(0o600)
    path.write_bytes(b"damaged" + data[7:])
    assert contents.fetch(content(data), [], download()).read_bytes() == data
    (tmp_path / "in-use").hardlink_to(path)
    contents.prune(most=0)
    assert [each.name for each in (tmp_path / "contents").iterdir() if not each.name.startswith(".")] == [path.name]


def test_a_description_is_bounded_and_checked(open_door, joined):
    client = joined("box")
    client._describe = lambda: {"cores": 4, "accelerators": [{"wheels": 3}]}
    with pytest.raises(JobError, match="describes no machine"):
        client.claim()
    client._describe = lambda: {"host": "x" * 60_000}
    with pytest.raises(JobError, match="50,000 characters"):
        client.claim()
    client._describe = lambda: {"cores": 4, "unheard": "of", "tasks": [], "host": "a\x1b[2Jb"}
    assert client.claim() is None
    said = machines(open_door.store)[0].description
    assert (said.cores, said.host) == (4, "a\N{REPLACEMENT CHARACTER}[2Jb")
