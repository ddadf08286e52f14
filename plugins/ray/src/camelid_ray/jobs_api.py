"""Ray's Jobs API over HTTP: submit, ask, stop.

Knows its addresses, its token and its deadlines. Knows nothing of attempts. Ray's own client is not used: none of its
requests ends while the cluster is silent (`ray/dashboard/modules/dashboard_sdk.py` sets no timeout), and importing it
takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from camelid_core.errors import JobError, UsageError
from camelid_core.jobs.detached_handle import ClusterUnreachable
from camelid_core.server_address import is_loopback

from .settings import RaySettings

_TIMEOUT = httpx.Timeout(20.0, connect=10.0)
_MAX_ANSWER = 4_000_000
_UNKNOWN = 404
_REFUSED = (401, 403)
_SET = "`camelid plugins settings ray token=-` asks for the token and keeps it."


class JobsApi:
    """One cluster's Jobs API.

    Raises:
        UsageError: the address is none, or the token would travel in the open.
    """

    def __init__(self, settings: RaySettings) -> None:
        self.address = settings.address.rstrip("/")
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(
                f"the address of Ray is {settings.address!r}; give `camelid plugins settings ray "
                "address=https://HOST:PORT`, or http://127.0.0.1:8265 for this machine."
            )
        self._here = is_loopback(parts.hostname)
        if parts.scheme == "http" and not self._here and not settings.plain_http:
            raise UsageError(
                f"the address of Ray, {self.address!r}, is another machine's over http, where everybody on the way "
                "reads the token. Use https, or a tunnel: `ssh -L 8265:127.0.0.1:8265 HOST` and http://127.0.0.1:8265. "
                "Where the network is your own: `camelid plugins settings ray plain_http=true`."
            )
        # no proxy: the token is for the cluster alone; no open connections: nobody would close them
        self._client = httpx.Client(
            timeout=_TIMEOUT, trust_env=False, follow_redirects=False, verify=parts.scheme == "https",
            limits=httpx.Limits(max_keepalive_connections=0),
        )  # fmt: skip
        self._token = settings.token.get_secret_value().strip() or _token_of_ray(os.environ)

    def check_access(self) -> None:
        """See that the cluster asks for a token, and takes ours.

        Raises:
            UsageError: it asks for none and is another machine, or it does not take ours.
            ClusterUnreachable: it does not answer.
        """
        answer = self._request("GET", "/api/version", token="")
        if answer.status_code in _REFUSED:
            self._checked("GET", "/api/version")
            return
        self._parsed(answer)
        if not self._here:
            raise UsageError(
                f"the Ray cluster at {self.address} asks for no token: whoever reaches it runs code there. Start it "
                "with RAY_AUTH_MODE=token (Ray 2.52 or newer), or reach it through a tunnel that ends on this machine."
            )

    def submit(self, values: Mapping[str, Any]) -> None:
        """Submit a job. Raises JobError: the cluster refuses it."""
        self._checked("POST", "/api/jobs/", values)

    def job(self, submission: str) -> dict[str, Any] | None:
        """What the cluster knows of a job; None for one that it does not know."""
        answer = self._request("GET", f"/api/jobs/{submission}", token=self._token)
        return None if answer.status_code == _UNKNOWN else self._parsed(answer)

    def stop(self, submission: str) -> None:
        """Have a job ended; harmless where it has ended, or is not known."""
        answer = self._request("POST", f"/api/jobs/{submission}/stop", token=self._token)
        if answer.status_code != _UNKNOWN:
            self._parsed(answer)

    def _checked(self, method: str, path: str, values: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._parsed(self._request(method, path, values, token=self._token))

    def _parsed(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code in _REFUSED:
            gave = "none is set" if not self._token else "not the one that is set"
            raise UsageError(f"the Ray cluster at {self.address} asks for its token, and {gave}. {_SET}")
        if answer.status_code >= 500 and "already exists" not in answer.text:
            raise ClusterUnreachable(f"The Ray cluster at {self.address} failed ({answer.status_code}).")
        try:
            values = answer.json() if answer.is_success else None
        except ValueError:
            values = None
        if not isinstance(values, dict):
            said = answer.text.strip().splitlines()[-1:] or [""]
            raise JobError(f"the Ray cluster at {self.address} refused ({answer.status_code}): {said[0][:300]!r}.")
        return values

    def _request(
        self, method: str, path: str, values: Mapping[str, Any] | None = None, *, token: str
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with self._client.stream(method, self.address + path, json=values, headers=headers) as answer:
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > _MAX_ANSWER:
                        raise JobError(f"the Ray cluster at {self.address} answers more than {_MAX_ANSWER:,} bytes.")
                return httpx.Response(answer.status_code, content=bytes(body))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            reason = str(error) or type(error).__name__
            raise ClusterUnreachable(f"The Ray cluster at {self.address} does not answer: {reason}.") from None


def _token_of_ray(environment: Mapping[str, str]) -> str:
    """The token where Ray itself looks for it."""
    if token := environment.get("RAY_AUTH_TOKEN", "").strip():
        return token
    given = environment.get("RAY_AUTH_TOKEN_PATH")
    file = Path(given) if given else Path.home() / ".ray" / "auth_token"
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
