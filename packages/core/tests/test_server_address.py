"""The address of a server: socket, host names, and the file for other programs."""

from __future__ import annotations

import json
import os
import socket

import pytest
from camelid_core.errors import UsageError
from camelid_core.server_address import address_file, host_names, is_loopback, listening_socket, url_host


def test_a_taken_port_is_a_sentence():
    with (
        listening_socket("127.0.0.1", 0) as taken,
        pytest.raises(UsageError, match="--port"),
        listening_socket("127.0.0.1", taken.getsockname()[1]),
    ):
        pass


def test_a_host_that_is_no_address_is_a_sentence():
    with (
        pytest.raises(UsageError, match=r"--host 'no\.such\.name\.invalid'"),
        listening_socket("no.such.name.invalid", 0),
    ):
        pass


def test_who_is_told_the_address_may_come_at_once():
    with listening_socket("127.0.0.1", 0) as server, socket.create_connection(server.getsockname(), timeout=240):
        pass


def test_the_address_file_is_for_the_user_alone_and_goes_with_the_server(tmp_path):
    path = tmp_path / "deep" / "ui.json"
    with address_file(path, {"url": "http://x"}):
        assert path.stat().st_mode & 0o777 == 0o600
        assert json.loads(path.read_text()) == {"url": "http://x", "pid": os.getpid()}
    assert not path.exists()


def test_another_servers_address_is_left_alone(tmp_path):
    path = tmp_path / "ui.json"
    with address_file(path, {}):
        path.write_text(json.dumps({"pid": -1}))
    assert path.exists()


def test_a_public_server_knows_its_own_names():
    assert host_names("127.0.0.1", ["MINE"]) == {"localhost", "127.0.0.1", "::1", "mine"}
    assert host_names("0.0.0.0", ["box.lan"]) >= {"localhost", "box.lan", socket.gethostname().lower()}


def test_what_to_type_for_an_address():
    assert [url_host(host) for host in ("::1", "127.0.0.1", "0.0.0.0")] == ["[::1]", "127.0.0.1", socket.gethostname()]
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")] == [
        True, True, True, False, False,
    ]  # fmt: skip
