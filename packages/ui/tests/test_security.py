"""The guard: tokens, origins and host names; everything is denied unless it is listed as public."""

from __future__ import annotations

import pytest
from camelid_core.server_address import host_names
from camelid_ui.access_profile import DEMO, LOCAL
from camelid_ui.security import guard_local, guard_public
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

TOKEN = "right-token"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"]


@pytest.fixture
def touched() -> list[str]:
    return []


@pytest.fixture
def client(touched):
    async def handler(request: Request) -> PlainTextResponse:
        touched.append(request.method)
        return PlainTextResponse("in")

    app = Starlette(routes=[Route("/{path:path}", handler, methods=METHODS)])
    return TestClient(guard_local(app, TOKEN, host_names("127.0.0.1"), 7860, LOCAL), base_url="http://localhost:7860")


def signed_in(client: TestClient) -> TestClient:
    client.cookies.set("camelid-7860", TOKEN)
    return client


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "path", ["/", "/config", "/gradio_api/queue/join", "/download/predictions/1", "/assets/../config"]
)
def test_without_a_token_nothing_is_reached(client, touched, method, path):
    assert client.request(method, path).status_code in (401, 403)
    assert touched == []


@pytest.mark.parametrize("path", ["/health", "/favicon.ico", "/assets/index.js", "/static/fonts/x.woff2"])
def test_health_and_static_files_are_open_to_look_at(client, path):
    assert client.get(path).status_code == 200
    assert client.post(path).status_code in (401, 403)


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost.evil.example:7860", None]
)
def test_other_sites_change_nothing_with_our_cookie(client, touched, method, origin):
    headers = {"origin": origin} if origin else {}
    assert signed_in(client).request(method, "/gradio_api/queue/join", headers=headers).status_code == 403
    assert touched == []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "169.254.169.254:7860"])
def test_other_names_are_not_answered(client, touched, method, host):
    response = signed_in(client).request(method, "/", headers={"host": host, "origin": f"http://{host}"})
    assert response.status_code == 403
    assert touched == []


def test_our_own_pages_get_in(client, touched):
    signed_in(client)
    assert client.get("/").text == "in"
    assert client.post("/gradio_api/cancel", headers={"origin": "http://localhost:7860"}).text == "in"
    assert touched == ["GET", "POST"]


def test_programs_show_the_token_themselves(client):
    assert client.post("/gradio_api/cancel", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.post("/gradio_api/cancel", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_the_printed_address_gives_a_strict_cookie_and_drops_the_token(client):
    response = client.get(f"/?token={TOKEN}&tab=train")
    cookie = response.headers["set-cookie"]
    assert response.status_code == 200
    assert "SameSite=Strict" in cookie
    assert "HttpOnly" in cookie
    assert "searchParams.delete('token')" in response.text
    assert TOKEN not in response.text
    assert client.get("/").text == "in"


def test_wrong_tokens_are_slowed_down(client):
    codes = [client.get("/?token=wrong").status_code for _ in range(7)]
    assert codes == [401] * 5 + [429] * 2
    assert client.get(f"/?token={TOKEN}").status_code == 200


def test_the_page_without_a_token_says_what_to_do(client):
    assert "camelid ui" in client.get("/").text


def test_answers_cannot_be_framed_sniffed_or_call_out(client):
    headers = signed_in(client).get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "img-src 'self'" in headers["content-security-policy"]


def test_without_asking_for_tokens_origins_and_hosts_still_count(touched):
    async def handler(request: Request) -> PlainTextResponse:
        touched.append(request.method)
        return PlainTextResponse("in")

    app = Starlette(routes=[Route("/", handler, methods=METHODS)])
    client = TestClient(guard_local(app, "", host_names("127.0.0.1"), 7860, LOCAL), base_url="http://localhost:7860")
    assert client.get("/").status_code == 200
    assert client.post("/gradio_api/cancel", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/", headers={"host": "evil.example"}).status_code == 403
    assert touched == ["GET"]


def test_a_websocket_is_closed_to_strangers(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
        pass


def test_public_pages_need_no_token_and_have_limits(touched):
    async def handler(request: Request) -> PlainTextResponse:
        touched.append(request.method)
        return PlainTextResponse("in")

    app = Starlette(routes=[Route("/{path:path}", handler, methods=METHODS)])
    few = DEMO.model_copy(update={"max_client_requests": 3})
    client = TestClient(guard_public(app, few, "'self' https://host.example", forwarded=True))
    headers = {"host": "some-space.example", "origin": "https://some-space.example", "x-forwarded-for": "8.8.8.8"}
    answers = [client.post("/gradio_api/queue/join", headers=headers) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429]
    assert answers[-1].json() == {"detail": "Too many requests; wait a little."}
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "frame-ancestors 'self' https://host.example" in answers[0].headers["content-security-policy"]
    assert "x-frame-options" not in answers[0].headers
    assert client.post("/gradio_api/queue/join", headers=headers | {"x-forwarded-for": "9.9.9.9"}).status_code == 200
    assert client.get("/assets/index.js", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "local", "demo"),
    [
        ("GET", "/", 200, 200),
        ("GET", "/download/predictions/1", 200, 200),
        ("GET", "/gradio_api/queue/data", 200, 200),
        ("POST", "/gradio_api/queue/join", 200, 200),
        ("POST", "/gradio_api/upload", 200, 404),
        ("GET", "/gradio_api/file=/somewhere/uploads/x", 200, 404),
        ("GET", "/gradio_api/file=https://elsewhere.example/x", 404, 404),
        ("POST", "/gradio_api/component_server", 200, 404),
        ("GET", "/gradio_api/proxy=https://elsewhere.example", 404, 404),
        ("POST", "/gradio_api/run/predict", 200, 200),
        ("POST", "/gradio_api/run/anything", 404, 404),
        ("POST", "/gradio_api/vibe-edit", 404, 404),
        ("GET", "/gradio_api/deep_link", 404, 404),
        ("GET", "/monitoring", 404, 404),
        ("GET", "/metrics", 200, 404),
        ("GET", "/jobs/1/log", 200, 200),
        ("POST", "/jobs/1/log", 404, 404),
        ("POST", "/login", 404, 404),
        ("DELETE", "/", 404, 404),
        ("POST", "/", 404, 404),
    ],
)
def test_there_is_no_route_but_those_that_pages_use(touched, method, path, local, demo):
    async def handler(request: Request) -> PlainTextResponse:
        touched.append(request.method)
        return PlainTextResponse("in")

    app = Starlette(routes=[Route("/{path:path}", handler, methods=METHODS)])
    for profile, status in ((LOCAL, local), (DEMO, demo)):
        client = TestClient(
            guard_local(app, TOKEN, host_names("127.0.0.1"), 7860, profile), base_url="http://localhost:7860"
        )
        assert client.request(method, path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == status
    assert len(touched) == (local == 200) + (demo == 200)


@pytest.mark.parametrize("profile", [LOCAL, DEMO], ids=lambda profile: profile.name)
def test_a_request_larger_than_its_route_takes_is_refused(touched, profile):
    async def handler(request: Request) -> PlainTextResponse:
        touched.append(len(await request.body()))
        return PlainTextResponse("in")

    app = Starlette(routes=[Route("/{path:path}", handler, methods=METHODS)])
    client = TestClient(
        guard_local(app, TOKEN, host_names("127.0.0.1"), 7860, profile), base_url="http://localhost:7860"
    )

    def status(path: str, size: int) -> int:
        headers = {"authorization": f"Bearer {TOKEN}"}
        return client.post(f"/gradio_api/{path}", content=bytes(size), headers=headers).status_code

    most = profile.max_request_bytes
    assert [status("queue/join", size) for size in (most, most + 1)] == [200, 413]
    assert [status("cancel", size) for size in (65_536, 65_537)] == [200, 413]
    assert touched == [most, 65_536]
