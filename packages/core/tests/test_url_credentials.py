"""Credentials in the URLs of proxies and mirrors stay in this process: jobs do not get them."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from camelid_core.jobs.executors import LocalExecutor
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.run_directories import LOG, attempt_directory
from camelid_core.subprocesses import child_environment, variables_with_credentials
from hypothesis import given
from hypothesis import strategies as st

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
ADDRESSES = ("HF_ENDPOINT", "CAMELID_ENGINE_URL", "CAMELID_DATA_MIRROR")


@pytest.mark.parametrize(
    ("name", "value", "passed"),
    [
        ("HTTPS_PROXY", "http://user:word@proxy:3128", "http://proxy:3128"),
        ("https_proxy", "user:word@proxy:3128", "proxy:3128"),
        ("http_proxy", "http://us@er:w/o@r#d@proxy:3128/", "http://proxy:3128/"),
        ("ALL_PROXY", "socks5h://user:word@[::1]:1080", "socks5h://[::1]:1080"),
        ("HTTP_PROXY", "http://proxy:3128", "http://proxy:3128"),
        ("HTTP_PROXY", "proxy:3128", "proxy:3128"),
        ("NO_PROXY", "localhost,.example.org", "localhost,.example.org"),
        ("HF_ENDPOINT", "https://user:word@mirror/hub", "https://mirror/hub"),
        ("HF_ENDPOINT", "https://mirror/a@b?c=d@e", "https://mirror/a@b?c=d@e"),
        ("CAMELID_ENGINE_URL", "http://user@host:8000/v1", "http://host:8000/v1"),
        ("CAMELID_DATA_MIRROR", "/data/me@work", "/data/me@work"),
        ("PIP_INDEX_URL", "https://user:word@index/simple", None),
        ("PIP_EXTRA_INDEX_URL", "https://user:word@index/simple", None),
        ("GIT_ASKPASS", "/usr/bin/ask", None),
        ("HF_TOKEN", "word", None),
        ("CAMELID_PASSWD", "word", None),
        ("CAMELID_PASSPHRASE", "word", None),
        ("CAMELID_BASIC_AUTH", "user:word", None),
        ("CAMELID_COOKIE", "word", None),
    ],
)
def test_what_a_job_gets_of_an_address(name, value, passed):
    assert child_environment({name: value}).get(name) == passed
    assert variables_with_credentials({name: value}) == ([name] if passed not in (value, None) else [])


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20).map("§{}§".format)


@given(words, words, st.sampled_from(["", "http://", "socks5://"]), st.sampled_from(["", "/"]))
def test_no_password_of_an_address_reaches_a_job(user, word, scheme, end):
    known = {name: f"https://{quote(user, safe='')}:{quote(word, safe='')}@host:1{end}" for name in ADDRESSES}
    given_ = known | dict.fromkeys(PROXIES, f"{scheme}{user}:{word}@host:1{end}")
    child = child_environment(given_)
    assert set(child) >= set(given_)
    said = "\n".join(child.values())
    assert not any(each in said for each in (user, word, quote(user, safe=""), quote(word, safe="")))
    assert all(child[name].endswith(f"host:1{end}") for name in given_)


SEEN = "import os, pathlib; pathlib.Path('seen').write_text(os.environ['HTTPS_PROXY'])"


@pytest.mark.parametrize("proxy", ["http://user:geheim@proxy:3128", "http://proxy:3128"])
def test_the_log_says_what_a_job_is_not_given(home, tmp_path, monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    (tmp_path / "look.py").write_text(SEEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    store = open_store()
    store.submit("sleep", {})
    job = store.claim("worker", 60)
    directory = attempt_directory(home, job.id, job.epoch)
    directory.mkdir(parents=True)
    handle = LocalExecutor("look").start(job, directory)
    handle._process.wait(240)
    assert (directory / "seen").read_text() == "http://proxy:3128"
    log = (directory / LOG).read_text()
    assert "geheim" not in log
    assert log.count("Jobs are not given the user and the password in HTTPS_PROXY.") == (proxy != "http://proxy:3128")
