"""`ORG/NAME:BRANCH` names one branch, wherever it lies; what is no such name is left to others."""

from __future__ import annotations

from pathlib import Path

import pytest
from camelid_core.errors import UsageError
from camelid_core.models.hub_names import BranchName, hugging_face_cache, parse_branch_name
from camelid_core.models.resolved_model import pulled_dir
from camelid_core.testing import isolated_home


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("me/x", BranchName("me/x")),
        ("me/x:main", BranchName("me/x")),
        ("The.Bloke/x-7B_b:gptq-4bit-32g-actorder_True", BranchName("The.Bloke/x-7B_b", "gptq-4bit-32g-actorder_True")),
        ("hub:/a/b/me/x:v1", BranchName("me/x", "v1", Path("/a/b"))),
        ("hub:/me/x", BranchName("me/x", "main", Path("/"))),
        ("hub:h/me/x", BranchName("me/x", "main", Path("h"))),
        ("hub:me/x", BranchName("me/x", "main", Path())),
        ("hub:/a/me/x:b1/y.Q8_0.gguf", BranchName("me/x", "b1", Path("/a"), "y.Q8_0.gguf")),
        ("me/x:b1/y.gguf", BranchName("me/x", "b1", None, "y.gguf")),
        ("me/y.gguf", BranchName("me/y.gguf")),
        ("x", None), ("/me/x", None), ("./x", None), ("a/b/c", None), ("me/", None), ("x:main", None),
    ],
)  # fmt: skip
def test_what_a_name_means(name, meaning):
    assert parse_branch_name(name) == meaning


@pytest.mark.parametrize("branch", ["", " ", "a b", "a/b", "..", "x..y", "-x", ".x", "x.lock", "a:b", "a\n"])
def test_a_branch_that_no_name_can_have_is_refused(branch):
    with pytest.raises(UsageError, match="cannot be used"):
        parse_branch_name(f"me/x:{branch}")


def test_a_pulled_branch_has_a_directory_of_its_own(tmp_path, monkeypatch):
    isolated_home(tmp_path, monkeypatch)
    assert pulled_dir("me/x:main") == pulled_dir("me/x")
    assert pulled_dir("me/x:b1").name == "me--x--b1"
    long = "TheBloke/airoboros-l2-13b-gpt4-m2.0-GPTQ:gptq-4bit-32g-actorder_True"
    assert pulled_dir(long).name == long.replace("/", "--").replace(":", "--")


def test_the_cache_is_where_huggingface_hub_looks(monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hugging_face_cache() == Path.home() / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert hugging_face_cache() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/home-of-hf")
    assert hugging_face_cache() == Path("/home-of-hf/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/cache")
    assert hugging_face_cache() == Path("/cache")


def test_a_reference_that_leads_elsewhere_is_no_branch(tmp_path):
    refs = tmp_path / ".cache/models--me--x/refs"
    refs.mkdir(parents=True)
    (tmp_path / ".cache/models--me--x/snapshots").mkdir()
    for content in (b"../../..", b"", b"a" * 39, b"\xff\xfe"):
        (refs / "main").write_bytes(content)
        assert BranchName("me/x", "main", tmp_path).directory() is None
