"""Which clusters are talked to at all, and what is said when one is silent or strange. No Ray is needed."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from camelid_core.errors import JobError, UsageError
from camelid_core.jobs.attempt_result import ExitCode
from camelid_core.jobs.detached_handle import ClusterUnreachable
from camelid_ray.executor import RayJob
from camelid_ray.jobs_api import JobsApi
from camelid_ray.settings import RaySettings


@contextmanager
def answering(answers: dict[str, tuple[int, object]]) -> Iterator[tuple[str, list[str | None]]]:
    """A server with these answers by path; its address, and the credentials of each request."""
    seen: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("Authorization"))
            code, body = answers.get(self.path, (404, "Job does not exist"))
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def no_token_of_ray(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


def api_of(address: str, **more: object) -> JobsApi:
    return JobsApi(RaySettings.model_validate({"address": address, **more}))


def test_the_token_does_not_travel_in_the_open():
    with pytest.raises(UsageError, match="ssh -L 8265"):
        api_of("http://ray.example:8265")
    api_of("http://ray.example:8265", plain_http=True)
    with pytest.raises(UsageError, match="address=https"):
        api_of("ray://ray.example:10001")


def test_a_cluster_on_another_machine_that_asks_for_no_token_is_refused(monkeypatch):
    with answering({"/api/version": (200, {"version": "4"})}) as (address, seen):
        here = api_of(address, token="secret")
        here.check_access()  # on this machine it may
        assert seen == [None]
        monkeypatch.setattr("camelid_ray.jobs_api.is_loopback", lambda host: False)
        with pytest.raises(UsageError, match="RAY_AUTH_MODE=token"):
            api_of(address, token="secret", plain_http=True).check_access()
        assert seen == [None, None]


def test_the_token_comes_from_the_settings_else_from_where_ray_keeps_it(monkeypatch, tmp_path):
    with answering({"/api/version": (401, "Unauthorized")}) as (address, seen):
        with pytest.raises(UsageError, match="none is set"):
            api_of(address).check_access()
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("of-the-file\n")
        for more in ({}, {"token": "of-the-settings"}):
            with pytest.raises(UsageError, match="not the one that is set"):
                api_of(address, **more).check_access()
        monkeypatch.setenv("RAY_AUTH_TOKEN", "of-the-environment")
        with pytest.raises(UsageError):
            api_of(address).check_access()
    assert [each for each in seen if each] == [
        f"Bearer of-the-{place}" for place in ("file", "settings", "environment")
    ]


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ({"status": "PENDING"}, None),
        ({"status": "RUNNING"}, None),
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0),
        ({"status": "FAILED", "driver_exit_code": 76}, 76),
        ({"status": "FAILED", "driver_exit_code": None}, ExitCode.FENCED),
        ({"status": "STOPPED"}, 137),
    ],
)
def test_the_words_of_ray_become_exit_codes(found, code):
    with answering({"/api/jobs/camelid-1-1-x": (200, found)}) as (address, _):
        assert RayJob(api_of(address), "camelid-1-1-x").exit_code() == code


def test_a_head_that_was_started_anew_has_lost_the_job():
    with answering({}) as (address, _):
        assert RayJob(api_of(address), "camelid-1-1-x").exit_code() == ExitCode.FENCED


def test_a_silent_or_strange_cluster_is_told_from_one_that_refuses():
    with answering({"/api/version": (503, "busy"), "/api/jobs/": (400, "no such runtime_env")}) as (address, _):
        api = api_of(address)
        with pytest.raises(ClusterUnreachable, match="503"):
            api.check_access()
        with pytest.raises(JobError, match="no such runtime_env") as refused:
            api.submit({})
        assert not isinstance(refused.value, ClusterUnreachable)
    with pytest.raises(ClusterUnreachable, match="does not answer"):
        api.check_access()
