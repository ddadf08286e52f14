"""`camelid ui`: what it refuses, and the file that says where it is."""

from __future__ import annotations

import json
import socket

import pytest
from camelid_core.errors import UsageError
from camelid_ui import commands


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_open_to_all_without_a_token_is_refused(host):
    with pytest.raises(UsageError, match="no-token") as caught:
        commands.ui(host=host, port=0, token=False)
    assert caught.value.exit_code == 2
    assert "ssh -L" in str(caught.value)


def test_a_taken_port_is_a_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="--port"), commands._listening("127.0.0.1", taken.getsockname()[1]):
            pass


def test_the_address_file_is_for_the_user_alone_and_goes_with_the_server(tmp_path):
    path = tmp_path / "ui.json"
    with commands._address_file(path, {"url": "http://x", "pid": commands.os.getpid()}):
        assert path.stat().st_mode & 0o777 == 0o600
        assert json.loads(path.read_text())["url"] == "http://x"
    assert not path.exists()


def test_another_servers_address_is_left_alone(tmp_path):
    path = tmp_path / "ui.json"
    with commands._address_file(path, {"pid": commands.os.getpid()}):
        path.write_text(json.dumps({"pid": -1}))
    assert path.exists()


def test_a_public_server_knows_its_own_names():
    assert "localhost" in commands._hosts("127.0.0.1", [])
    assert socket.gethostname().lower() in commands._hosts("0.0.0.0", ["box.lan"])
    assert "box.lan" in commands._hosts("0.0.0.0", ["box.lan"])
