"""Every route of the API is behind the guard; pages of allowed origins (CORS) may call it, and others may not."""

from __future__ import annotations

from typing import Any

import httpx
from camelid_serve.api.app import OPEN


def test_every_route_asks_for_the_key_but_the_two_that_hold_nothing(api: Any) -> None:
    paths = {path.split("{")[0]: methods for path, methods in api.get("/openapi.json").json()["paths"].items()}
    assert len(paths) >= 8
    for path, methods in [*paths.items(), ("/openapi.json", ["get"]), ("/nowhere", ["get", "post"])]:
        for method in methods:
            status = httpx.request(method, api.url + path).status_code
            assert (status == 200) if path in OPEN else (status == 401), (method, path)
    assert set(OPEN) == {"/health", "/ready"}


def test_cors_allows_named_origins(serve: Any) -> None:
    page = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    served = serve(origins=("https://app.example",))
    allowed = httpx.options(f"{served.url}/v1/completions", headers=page | asking)
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert served.chat().headers.get("access-control-allow-origin") is None
    asked = served.post("/v1/completions", {"prompt": "x"}, headers=page)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://app.example"
    assert httpx.post(f"{served.url}/v1/completions", json={}, headers=page).status_code == 401
    evil = {"origin": "https://evil.example"}
    refused = httpx.options(f"{served.url}/v1/completions", headers=evil | asking)
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


def test_a_huge_header_is_refused_in_the_same_shape(api: Any) -> None:
    response = api.get("/v1/models", headers={"authorization": "Bearer " + "x" * 1_000_000})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_http"
