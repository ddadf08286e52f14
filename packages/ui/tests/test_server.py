"""The whole app behind the guard: each of its routes asks for the token, and none serves a file of ours."""

from __future__ import annotations

import pytest
from camelid_core.jobs.run_directories import LOG, attempt_directory
from camelid_core.server_address import host_names
from camelid_ui.access_profile import LOCAL
from camelid_ui.routes import PUBLIC_PATHS, PUBLIC_PREFIXES
from camelid_ui.security import guard_local
from camelid_ui.server import build_server
from starlette.testclient import TestClient

TOKEN = "right"


@pytest.fixture
def app(services, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return build_server(services)


@pytest.fixture
def client(app):
    return TestClient(guard_local(app, TOKEN, host_names("127.0.0.1"), 80, LOCAL), base_url="http://localhost")


def paths(routes, prefix=""):
    for route in routes:
        path = prefix + getattr(route, "path", "")
        nested = getattr(route, "original_router", None) or getattr(
            route, "app", None
        )  # FastAPI's included routers, mounts
        inner = getattr(route, "routes", None) or getattr(nested, "routes", None)
        if inner:
            yield from paths(inner, path.rstrip("/"))
        else:
            yield path, getattr(route, "methods", None) or {"GET"}


def test_every_route_asks_for_the_token(app, client):
    found = list(paths(app.routes))
    assert any("/queue/join" in path for path, _ in found)
    assert any("/upload" in path for path, _ in found)
    for path, methods in found:
        address = path.replace("{", "").replace("}", "").replace(":path", "")
        for method in methods:
            status = client.request(method, address).status_code
            if status not in (401, 403):
                assert method in ("GET", "HEAD")
                assert address in PUBLIC_PATHS or address.startswith(PUBLIC_PREFIXES), address


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file=/proc/self/environ",
        "/file=/etc/passwd",
    ],
)
def test_no_file_of_the_machine_is_served(client, path):
    assert client.get(path, headers={"authorization": f"Bearer {TOKEN}"}).status_code in (403, 404)


def test_home_is_not_served_either(client, home):
    response = client.get(f"/gradio_api/file={home / 'jobs.sqlite3'}", headers={"authorization": f"Bearer {TOKEN}"})
    assert response.status_code in (403, 404)


def test_health_needs_nothing_and_a_missing_job_is_a_sentence(client):
    assert client.get("/health").json() == {"status": "ok"}
    missing = client.get("/download/predictions/7", headers={"authorization": f"Bearer {TOKEN}"})
    assert (missing.status_code, missing.text) == (404, "There is no job 7; `camelid jobs list --all` shows all.")


def test_predictions_are_a_download(client, services, questions):
    from camelid_serve.config import PredictConfig

    job = services.predictions.start(PredictConfig(model="tiny", input=str(questions)))
    found = client.get(f"/download/predictions/{job.id}", headers={"authorization": f"Bearer {TOKEN}"})
    assert found.headers["content-disposition"].startswith("attachment")
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.text == ""


def test_what_a_run_was_made_from_is_a_download(client, services):
    import io
    import zipfile

    from camelid_train.config import Recipe

    job = services.training.start(Recipe().with_overrides(["model.name=tiny"]), "mine")
    found = client.get(f"/download/runs/{job.id}", headers={"authorization": f"Bearer {TOKEN}"})
    assert found.headers["content-disposition"] == 'attachment; filename="mine.zip"'
    with zipfile.ZipFile(io.BytesIO(found.content)) as packed:
        assert any(name.endswith("recipe.toml") for name in packed.namelist())
    missing = client.get("/download/runs/7", headers={"authorization": f"Bearer {TOKEN}"})
    assert (missing.status_code, missing.text) == (404, "There is no job 7; `camelid jobs list --all` shows all.")


def test_nothing_is_published_as_an_api(app, client):
    config = client.get("/config", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert [each["api_name"] for each in config["dependencies"] if each.get("api_visibility") == "public"] == []
    assert config["analytics_enabled"] is False


def test_a_log_is_read_part_by_part(client, services):
    job = services.jobs.store.start(services.jobs.store.claim("w", 30, only=services.jobs.submit("merge", {}).id))
    log = attempt_directory(services.home, job.id, job.epoch) / LOG
    log.parent.mkdir(parents=True)
    log.write_text("<b>one</b>\n")
    headers = {"authorization": f"Bearer {TOKEN}"}
    first = client.get("/jobs/1/log", headers=headers).json()
    assert first == {"attempt": 1, "start": 0, "end": 11, "text": "<b>one</b>\n", "ended": False}
    with log.open("a") as file:
        file.write("two\n")
    more = client.get("/jobs/1/log?attempt=1&start=11", headers=headers)
    assert (more.json()["text"], more.headers["cache-control"]) == ("two\n", "no-store")
    assert client.get("/jobs/7/log", headers=headers).status_code == 404
    assert client.get("/jobs/1/log?start=-1", headers=headers).status_code == 422


def test_ends_are_told_once(client, services):
    headers = {"authorization": f"Bearer {TOKEN}", "accept-language": "zh"}
    first = client.get("/jobs/ended", headers=headers).json()
    assert first["jobs"] == []
    services.jobs.cancel(services.jobs.submit("merge", {}, "mine").id)
    then = client.get(f"/jobs/ended?since={first['now']}", headers=headers).json()
    assert then["jobs"] == [{"id": 1, "title": "mine: 已停止", "body": "Cancelled before it started."}]
    assert client.get(f"/jobs/ended?since={then['now']}", headers=headers).json()["jobs"] == []
    assert client.get("/jobs/ended?since=nan", headers=headers).json()["jobs"] == []


def test_a_monitor_gets_numbers_with_the_token_alone(client, services):
    services.jobs.submit("merge", {})
    assert client.get("/metrics").status_code == 401
    found = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert found.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'camelid_jobs{state="queued"} 1\n' in found.text
