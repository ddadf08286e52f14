"""Ends of jobs are announced: to whom was asked, with few words, as often as needed, and never at the cost of a job."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import sqlite3
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from camelid_core.commands import job_notify
from camelid_core.datasets.url_policy import OWN_NETWORK, UrlPolicy, post
from camelid_core.errors import CamelidError, DataError, UsageError
from camelid_core.events import read_events
from camelid_core.jobs import job_rows
from camelid_core.jobs.clock import Clock
from camelid_core.jobs.job import JobState
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.jobs.store import JobStore
from camelid_core.notifications.delivery import Notifier, deliver_due
from camelid_core.notifications.desktop import check_desktop, notify_desktop
from camelid_core.notifications.message import message_of, shareable
from camelid_core.notifications.notification_settings import (
    NOTIFICATIONS,
    Webhook,
    add_webhook,
    remove_webhook,
)
from camelid_core.notifications.outbox import WAITS, take_due, tell_also
from typer.testing import CliRunner


@pytest.fixture
def hook():
    """A server that notes what it is sent; `answer` is a status, or a function that answers."""
    state = SimpleNamespace(requests=[], answer=204)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.requests.append((self.path, self.headers, body))
            if callable(state.answer):
                state.answer(self)
                return
            self.send_response(state.answer)
            self.send_header("Location", f"{state.url}/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}/hooks/key?k=1"
        yield state
        running.shutdown()


class Later(Clock):
    """A clock that can be put forward."""

    later = 0.0

    def wall(self):
        return time.time() + self.later


@pytest.fixture
def store(home):
    return JobStore(home / "jobs.sqlite3", clock=Later(), backoff=())


def ended(store, state=JobState.FAILED, **more):
    job = store.start(store.claim("w", 30, only=store.submit("tick", {"rows": ["a secret row"]}).id))
    attempt_directory(store.path.parent, job.id, job.epoch).mkdir(parents=True)
    return store.finish(job, state, **more)


def noted(store, job):
    return read_events(attempt_directory(store.path.parent, job.id, job.epoch) / EVENTS)[0]


def bodies(hook):
    return [json.loads(body) for _, _, body in hook.requests]


def test_the_end_of_every_job_is_told_once(store, hook):
    add_webhook(Webhook(url=hook.url, own_network=True))
    for state in (JobState.SUCCEEDED, JobState.FAILED, JobState.PAUSED, JobState.CANCELLED):
        ended(store, state)
    deliver_due(store)
    deliver_due(store)
    assert [(body["job"], body["state"]) for body in bodies(hook)] == [(1, "succeeded"), (2, "failed"), (3, "paused")]
    store.retry(2)
    store.finish(store.start(store.claim("w", 30, only=2)), JobState.SUCCEEDED)
    deliver_due(store)
    assert [(body["job"], body["attempt"]) for body in bodies(hook)][3:] == [(2, 2)]


def test_an_end_that_nobody_was_there_to_see_is_told_too(store, hook):
    """The job's last worker died, and the table was swept by a command."""
    add_webhook(Webhook(url=hook.url, own_network=True))
    job = store.start(store.claim("w", 30, only=store.submit("tick", {}).id))
    store.mark_lost(job)
    assert store.get(1).state == JobState.FAILED
    with Notifier(store):
        deadline = time.monotonic() + 240
        while not hook.requests:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert bodies(hook)[0]["error"].startswith("Its worker died 1 times")


def test_what_is_told_names_no_file_and_quotes_no_data(store, hook, home):
    add_webhook(Webhook(url=hook.url, own_network=True))
    error = f"Row 3 of {home}/data/private.jsonl holds 'a secret row' (or \"another one\").\nMore: a secret row"
    (home / "ui.json").write_text(json.dumps({"url": "http://127.0.0.1:7860/?token=the-token"}))
    job = ended(store, error=error, error_kind="data_error")
    deliver_due(store)
    text = hook.requests[0][2].decode()
    for secret in ("secret", str(home), "private", "another", "the-token", "More"):
        assert secret not in text
    (body,) = bodies(hook)
    assert body["error"] == "Row 3 of … holds … (or …)."
    assert body["link"] == "http://127.0.0.1:7860/?tab=jobs&job=1"
    assert body["text"].startswith("tick-1 (tick, job 1): failed after")
    assert body["seconds"] == round(job.ended - job.started, 1)
    assert message_of(job, home, "https://c.example.org/x/")["link"] == "https://c.example.org/x/?tab=jobs&job=1"
    assert len(shareable("x" * 1000)) == 300


def test_messages_are_signed_and_numbered(store, hook):
    add_webhook(Webhook(url=hook.url, own_network=True))
    NOTIFICATIONS.save({"secret": "the key"})
    ended(store)
    deliver_due(store)
    path, headers, body = hook.requests[0]
    expected = hmac.new(b"the key", body, hashlib.sha256).hexdigest()
    assert (path, headers["X-Camelid-Signature"]) == ("/hooks/key?k=1", f"sha256={expected}")
    assert headers["X-Camelid-Delivery"] == "1-1"


@pytest.mark.parametrize(("status", "tries"), [(204, 1), (404, 1), (302, 1), (503, 5), (429, 5)])
def test_it_is_tried_again_where_that_can_help(store, hook, status, tries):
    hook.answer = status
    add_webhook(Webhook(url=hook.url, own_network=True))
    job = ended(store)
    for wait in (0.0, *WAITS, 3600.0):
        store.clock.later += wait + 1
        deliver_due(store)
        deliver_due(store)  # not before its time
    assert len(hook.requests) == tries
    events = [event for event in noted(store, job) if event["kind"] == "notification"]
    assert len(events) == tries
    assert events[-1]["then"] == ("" if status == 204 else "given up")
    assert "key" not in json.dumps(events)
    assert store.get(job.id) == job  # and the job is as it was


def test_who_takes_a_delivery_has_it_alone_and_another_takes_it_when_that_one_died(store):
    hooks = [Webhook(url="https://one.example"), Webhook(url="https://two.example")]
    ended(store)
    assert [each.webhook.url for each in take_due(store, hooks)] == ["https://one.example", "https://two.example"]
    assert take_due(store, hooks) == []
    store.clock.later += 61
    assert [each.tries for each in take_due(store, hooks)] == [2, 2]


def test_one_job_can_have_its_own_listener(store, hook):
    first, second = ended(store), store.submit("tick", {})
    webhook = Webhook(url=hook.url, own_network=True)
    deliver_due(store)
    assert hook.requests == []
    tell_also(store, second.id, webhook)
    tell_also(store, first.id, webhook)  # which has ended: at once
    deliver_due(store)
    assert [body["job"] for body in bodies(hook)] == [1]
    store.finish(store.start(store.claim("w", 30)), JobState.SUCCEEDED)
    store.delete(first.id, lambda: None)
    deliver_due(store)
    assert [body["job"] for body in bodies(hook)] == [1, 2]
    store.delete(second.id, lambda: None)
    with store.database.read() as db:
        left = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("job_end", "job_listener")]
    assert left == [0, 0]


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",  # not https
        "https://user:pass@hooks.example/x",
        "file:///etc/passwd",
        "https://hooks.example\\@127.0.0.1/",
    ],
)
def test_a_url_that_is_not_opened_is_refused_when_it_is_added(store, url):
    store.submit("tick", {})
    with pytest.raises(UsageError):
        add_webhook(Webhook(url=url))
    with pytest.raises(UsageError):
        tell_also(store, 1, Webhook(url=url))
    assert NOTIFICATIONS.load().webhooks == []


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "169.254.169.254", "localhost"])
def test_an_address_that_is_not_public_is_never_connected_to(store, hook, host):
    port = hook.url.split(":")[2].partition("/")[0]
    add_webhook(Webhook(url=f"https://{host}:{port}/"))
    job = ended(store)
    deliver_due(store)
    assert hook.requests == []
    (event,) = noted(store, job)
    assert "not public" in event["problem"]
    assert event["then"] == "given up"


def test_link_local_addresses_are_closed_to_own_networks_too():
    with pytest.raises(DataError, match="not public"):
        post("http://169.254.169.254/latest", b"", {}, OWN_NETWORK)


def test_who_answers_a_byte_at_a_time_is_cut_off(hook):
    def drip(handler):
        with contextlib.suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(600):
                handler.wfile.write(b"x: y\r\n")
                time.sleep(0.1)

    hook.answer = drip
    began = time.monotonic()
    with pytest.raises(DataError, match="did not answer in time"):
        post(hook.url, b"{}", {}, UrlPolicy(OWN_NETWORK.schemes, OWN_NETWORK.allows, 0.5))
    assert time.monotonic() - began < 50  # it would take a minute


def test_damaged_settings_stop_nothing(store, home, capsys):
    (home / "plugin-settings.json").write_text("{")
    ended(store)
    with Notifier(store):
        deadline, said = time.monotonic() + 240, ""
        while "plugin-settings.json" not in said:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            said += capsys.readouterr().err
    (home / "plugin-settings.json").unlink()
    assert [each.job for each in take_due(store, [Webhook(url="https://x.example")])] == [1]  # it was kept


def test_an_earlier_table_is_migrated_with_its_triggers(tmp_path):
    """The schema of the version before, and then this code."""
    path = tmp_path / "jobs.sqlite3"
    before = job_rows.SCHEMA.replace(job_rows._OUTBOX, "").rstrip().rstrip(";")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(f"{before}; PRAGMA user_version={job_rows.VERSION - 1}")
    store = JobStore(path)
    ended(store)
    assert [each.job for each in take_due(store, [Webhook(url="https://x.example")])] == [1]


def command(*arguments, code=0, given=None):
    done = CliRunner().invoke(job_notify.app, arguments, input=given)
    error = done.exception if isinstance(done.exception, CamelidError) else None
    assert (error.exit_code if error else done.exit_code) == code, done.output
    return done.output + str(error or "")


def test_webhooks_are_added_listed_tried_and_removed_by_commands(store, hook, home):
    assert "Nobody is told" in command("list")
    assert "add --own-network" in command("add", hook.url, code=2)
    assert "every job" in command("add", hook.url, "--own-network")
    assert "told already" in command("add", hook.url, "--own-network", code=2)
    (row,) = json.loads(command("list", "--json"))
    assert row == {"number": 1, "url": hook.url.partition("/hooks")[0] + "/…", "own_network": True}
    assert "took it" in command("try")
    assert bodies(hook)[0]["label"] == "a-try"
    hook.answer = 500
    assert "answers 500" in command("try", code=1)
    assert "no webhook 2" in command("remove", "2", code=2)
    command("secret", given="k\n")
    command("page", "https://pages.example")
    settings = NOTIFICATIONS.load()
    assert (settings.secret.get_secret_value(), settings.page) == ("k", "https://pages.example")
    command("secret", "--clear")
    assert NOTIFICATIONS.load().secret.get_secret_value() == ""
    assert remove_webhook(1).url == hook.url
    store.submit("tick", {})
    assert "job 1" in command("add", "https://hooks.example/x", "--job", "1")
    assert "https://hooks.example/…" in command("list", "--job", "1")
    assert (home / "plugin-settings.json").stat().st_mode & 0o077 == 0


def test_the_desktop_is_told_by_arguments_never_by_code(tmp_path, monkeypatch):
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/said\n')
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no notify-send"):
        check_desktop()
    program.chmod(0o755)
    notify_desktop("-t", "$(touch x); `y`")
    assert (tmp_path / "said").read_text().splitlines() == ["--app-name=Camelid", "--", "-t", "$(touch x); `y`"]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(subprocess.TimeoutExpired("x", 5)))
    notify_desktop("it is busy", "and nothing fails")
