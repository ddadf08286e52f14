"""Data files from URLs: what is refused is never connected to, and what breaks off is resumed."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import trustme
from camelid_core.datasets import library, url_download
from camelid_core.datasets.url_download import downloaded, file_name, noted_url
from camelid_core.datasets.url_policy import OWN_NETWORK, PUBLIC, UrlPolicy, is_of_own_network, is_public
from camelid_core.errors import DataError, UsageError

ROWS = b"".join(b'{"instruction": "q%d", "output": "a"}\n' % number for number in range(30_000))
HERE = UrlPolicy(("https", "http"), lambda address: address == ipaddress.ip_address("127.0.0.1"), 5.0)


@pytest.fixture
def server():
    """A server whose answers are a function of the request; it notes all requests."""
    state = SimpleNamespace(requests=[], answer=None)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            state.requests.append((self.path, dict(self.headers)))
            status, headers, body = state.answer(self.path, self.headers)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), "Connection": "close", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{running.server_port}"
        state.port = running.server_port
        yield state
        running.shutdown()


def file_at_once(path, headers):
    return 200, {}, ROWS


class Breaking:
    """A file with ranges; each answer ends after `size` bytes."""

    def __init__(self, size, body=ROWS, etag='"1"', ranges=True):
        self.size, self.body, self.etag, self.ranges = size, body, etag, ranges

    def __call__(self, path, headers):
        start = int(headers["Range"][6:-1]) if "Range" in headers else 0
        same = self.ranges and headers.get("If-Range") == self.etag
        start = start if same else 0
        if start >= len(self.body):
            return 416, {"Content-Range": f"bytes */{len(self.body)}"}, b""
        whole = {"ETag": self.etag, "Content-Length": str(len(self.body) - start)}
        if start:
            whole["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        return (206 if start else 200), whole, self.body[start : start + self.size]


def get(url, policy=HERE, **settings):
    with downloaded(url, lambda *_: None, policy, **settings) as path:
        return path.read_bytes()


def leftovers(home):
    return [path for path in (home / "cache" / "downloads").rglob("*") if path.is_file()]


def test_a_file_comes_whole_and_nothing_of_it_stays(server, home):
    server.answer = file_at_once
    seen = []
    with downloaded(f"{server.url}/sets/rows.jsonl?key=s", lambda *step: seen.append(step), HERE) as path:
        assert path.name == "rows.jsonl"
        assert path.read_bytes() == ROWS
        assert path.stat().st_mode & 0o077 == 0
    assert seen[-1] == ("rows.jsonl", len(ROWS), len(ROWS))
    assert server.requests[0][0] == "/sets/rows.jsonl?key=s"
    assert leftovers(home) == []


@pytest.mark.parametrize("etag", ['"1"', ""])
def test_what_breaks_off_is_resumed_while_there_is_progress(server, home, etag):
    server.answer = Breaking(400_000, etag=etag)
    if etag:
        assert get(f"{server.url}/rows.jsonl") == ROWS
        ranges = [headers.get("Range") for _, headers in server.requests]
        assert ranges == [None, *(f"bytes={start}-" for start in range(400_000, len(ROWS), 400_000))]
    else:  # it cannot be told whether the file is still the same, so it begins anew, once
        with pytest.raises(DataError, match=r"broke off at 400,000 bytes. Type the same again to resume"):
            get(f"{server.url}/rows.jsonl")
        assert len(server.requests) == 2


def test_a_later_try_goes_on_and_a_changed_file_begins_anew(server, home):
    server.answer = Breaking(300_000)
    url = f"{server.url}/rows.jsonl"
    with pytest.raises(KeyboardInterrupt), downloaded(url, stop_at(250_000), HERE):
        pass
    assert leftovers(home)
    server.requests.clear()
    server.answer = Breaking(len(ROWS))
    assert get(url) == ROWS
    assert "Range" in server.requests[0][1]
    with pytest.raises(KeyboardInterrupt), downloaded(url, stop_at(250_000), HERE):
        pass
    other = ROWS.replace(b"q", b"r")
    server.answer = Breaking(len(ROWS), other, '"2"')
    assert get(url) == other


def stop_at(size):
    def progress(name, have, total):
        if have >= size:
            raise KeyboardInterrupt

    return progress


def test_a_file_that_could_not_be_read_is_kept_for_the_next_try(server, home):
    server.answer = Breaking(len(ROWS))
    url = f"{server.url}/rows.jsonl"
    with pytest.raises(DataError), downloaded(url, lambda *_: None, HERE):
        raise DataError("line 7: no")
    server.requests.clear()
    assert get(url) == ROWS
    assert server.requests[0][1]["Range"] == f"bytes={len(ROWS)}-"
    assert len(server.requests) == 1


def test_what_nobody_came_back_for_goes(server, home):
    server.answer = Breaking(len(ROWS))
    with pytest.raises(DataError), downloaded(f"{server.url}/a.jsonl", lambda *_: None, HERE):
        raise DataError("no")
    for path in leftovers(home):
        os.utime(path, (time.time() - 8 * 86400,) * 2)
    get(f"{server.url}/b.jsonl")
    assert leftovers(home) == []


@pytest.mark.parametrize("told", [True, False])
def test_a_file_that_is_too_large_is_refused(server, home, told):
    length = {} if told else {"Content-Length": None}
    server.answer = lambda *_: (200, {name: value for name, value in length.items() if value}, ROWS)
    with pytest.raises(DataError, match=r"larger than 0.1 MB"):
        get(f"{server.url}/rows.jsonl", max_bytes=100_000)
    assert not [path for path in leftovers(home) if path.suffix == ".jsonl"]


def test_a_full_disk_is_foreseen(server, home, monkeypatch):
    server.answer = file_at_once
    monkeypatch.setattr(url_download.shutil, "disk_usage", lambda _: SimpleNamespace(free=300 << 20))
    assert get(f"{server.url}/rows.jsonl") == ROWS
    monkeypatch.setattr(url_download.shutil, "disk_usage", lambda _: SimpleNamespace(free=200 << 20))
    with pytest.raises(DataError, match=r"to come, and 0.2 GB of disk are free. Make room"):
        get(f"{server.url}/rows.jsonl")


@pytest.mark.parametrize(
    ("answer", "words"),
    [((404, {}, b"gone"), "answers 404"), ((200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"), "web page")],
)
def test_what_is_no_file_is_a_sentence(server, home, answer, words):
    server.answer = lambda *_: answer
    with pytest.raises(DataError, match=words):
        get(f"{server.url}/rows.jsonl")


def test_a_silent_server_is_not_waited_for(home):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        policy = UrlPolicy(HERE.schemes, HERE.allows, 0.3)
        with pytest.raises(DataError, match="did not answer in time"):
            get(f"http://127.0.0.1:{silent.getsockname()[1]}/x.jsonl", policy)


def test_two_do_not_write_one_file(server, home):
    server.answer = file_at_once
    url = f"{server.url}/rows.jsonl"
    with downloaded(url, lambda *_: None, HERE), pytest.raises(DataError, match="another process"):
        get(url)


def test_certificates_are_verified_for_the_name_in_the_url(home, tmp_path, monkeypatch):
    authority, certificate = trustme.CA(), tmp_path / "certificate.pem"
    authority.cert_pem.write_to_path(certificate)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers["Host"].encode())

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.handle_error = lambda *_: None
        running.socket = context.wrap_socket(running.socket, server_side=True)
        threading.Thread(target=running.serve_forever, daemon=True).start()
        port = running.server_port
        answer = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [answer])
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(DataError, match="certificate verify failed"):
            get(f"https://localhost:{port}/x.txt")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert get(f"https://localhost:{port}/x.txt") == f"localhost:{port}".encode()
        with pytest.raises(DataError, match=r"certificate is not valid for 'other.example'"):
            get(f"https://other.example:{port}/x.txt")
        running.shutdown()


REFUSED = [
    "http://127.0.0.1:{port}/x",
    "https://127.0.0.1:{port}/x",
    "https://localhost:{port}/x",
    "https://2130706433:{port}/x",
    "https://0x7f000001:{port}/x",
    "https://127.1:{port}/x",
    "https://0.0.0.0:{port}/x",
    "https://[::1]:{port}/x",
    "https://[::ffff:127.0.0.1]:{port}/x",
    "https://127.0.0.1:{port}\\@example.org/x",
    "https://user:secret@127.0.0.1:{port}/x",
    "https://127.0.0.1:{port}/x y",
    "https://127.0.0.1:{port}/\n",
    "https://169.254.169.254/latest/meta-data",
    "https://10.0.0.1/x",
    "https://[fd00::1]/x",
    "https://:{port}/x",
    "https://127.0.0.1:99999/x",
    "https://[bad/x",
    "file:///etc/passwd",
    "ftp://127.0.0.1:{port}/x",
    "gopher://127.0.0.1:{port}/x",
]


@pytest.mark.parametrize("url", REFUSED)
def test_by_default_only_https_to_public_addresses(server, home, url):
    """Nothing is connected to: neither by the first URL nor by one that redirects there."""
    url = url.format(port=server.port)
    server.answer = file_at_once
    with pytest.raises((UsageError, DataError), match=r"not opened|is no URL|cannot be reached"):
        get(url, PUBLIC)
    assert server.requests == []


@pytest.mark.parametrize("to", ["http://127.0.0.2:{port}/x", "http://[::1]:{port}/x", "file:///etc/passwd", "//a b/"])
def test_each_redirect_is_checked_anew(server, home, to):
    to = to.format(port=server.port)
    server.answer = lambda *_: (302, {"Location": to}, b"")
    with socket.create_server(("127.0.0.2", server.port)) as canary:
        canary.settimeout(0.2)
        with pytest.raises(DataError, match=r"not opened|is no URL"):
            get(f"{server.url}/rows.jsonl")
        with pytest.raises(TimeoutError):
            canary.accept()
    assert len(server.requests) == 1


def test_redirects_that_are_allowed_are_followed_and_end(server, home):
    server.answer = lambda path, _: (200, {}, ROWS) if path == "/there" else (301, {"Location": "/there"}, b"")
    assert get(f"{server.url}/rows.jsonl") == ROWS
    server.answer = lambda *_: (302, {"Location": "/again"}, b"")
    with pytest.raises(DataError, match="redirects more than 5 times"):
        get(f"{server.url}/rows.jsonl")


def test_a_name_with_one_bad_address_among_good_ones_is_refused_and_resolved_once(server, home, monkeypatch):
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in ("93.184.216.34", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(DataError, match=r"'sly.example' is not opened: 127.0.0.1"):
        get(f"https://sly.example:{server.port}/x", PUBLIC)
    assert asked == ["sly.example"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("address", "public", "own"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("127.0.0.1", False, True),
        ("192.168.1.5", False, True),
        ("fd00::1", False, True),
        ("169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("224.0.0.1", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::7f00:1", False, False),
        ("2002:7f00:1::", False, False),
    ],
)
def test_addresses(address, public, own):
    found = ipaddress.ip_address(address)
    assert (is_public(found), is_of_own_network(found)) == (public, own)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/rows.jsonl.gz", "rows.jsonl.gz"),
        ("/a/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("/", "data"),
        ("/..", "data"),
        ("/.bashrc", "bashrc"),
        ("/r%C3%A9sum%C3%A9 1.csv", "r-sum-1.csv"),
        ("/" + "x" * 300 + ".csv", "x" * 96 + ".csv"),
        ("/-rf%00.txt", "rf-.txt"),
    ],
)
def test_a_file_name_is_derived_safely(path, name):
    assert file_name(f"https://example.org{path}") == name


def test_a_url_is_noted_without_what_may_be_a_key():
    assert noted_url("https://a.org/x.csv?token=s#f") == "https://a.org/x.csv"


def test_datasets_add_takes_a_url(camelid, server, home):
    server.answer = file_at_once
    url = f"{server.url}/sets/rows.jsonl?key=secret"
    refused = camelid("datasets", "add", url)
    assert refused.code == 2
    assert "add --own-network" in refused.err
    assert server.requests == []
    done = camelid("datasets", "add", url, "--own-network", "--licence", "cc-by-4.0")
    assert done.code == 0, done.err
    assert "30,000 rows added as 'rows'" in done.out
    about = library.read_description("rows")
    assert about.source == f"{server.url}/sets/rows.jsonl"
    assert about.licence == "cc-by-4.0"
    assert about.file_sha256 == hashlib.sha256(ROWS).hexdigest()
    assert about.file_sha256 in camelid("datasets", "show", "rows").err
    again = camelid("datasets", "add", url, "--own-network")
    assert again.code == 2, "the name is taken, which is said before a byte is asked for"
    assert len(server.requests) == 1
    assert leftovers(home) == []
    assert "secret" not in json.dumps(camelid("datasets", "show", "rows", "--json").json)
    assert OWN_NETWORK.schemes == ("https", "http")
