"""A commit is known where the Hub's own library wrote it down for every file that makes the model, and only there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from camelid_core.errors import ConfigError
from camelid_core.models.revisions import hub_commit, require_commit
from huggingface_hub._local_folder import write_download_metadata  # what `snapshot_download(local_dir=…)` writes with

COMMIT, OTHER = "0123456789" * 4, "f" * 40
FILES = ("config.json", "model-1.safetensors", "model-2.safetensors")


@pytest.fixture
def fetched(tmp_path):
    for name in FILES:
        (tmp_path / name).touch()
        write_download_metadata(tmp_path, name, COMMIT, "etag")
    return tmp_path


def test_what_was_fetched_is_of_its_commit(fetched):
    (fetched / "README.md").touch()
    assert hub_commit(fetched) == COMMIT
    for known in (COMMIT, COMMIT[:7]):
        require_commit(fetched, known)
    for unlike in (OTHER, COMMIT[:6], "main", "v1.0"):
        with pytest.raises(ConfigError, match=rf"model\.revision is '{unlike}', but .* is of commit {COMMIT}\. Leave"):
            require_commit(fetched, unlike)


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_all_of_one_commit_have_none(fetched, name):
    note = fetched / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    for text in (f"{OTHER}\netag\n9e9\n", f"{COMMIT}\netag\n1.0\n", "no note", f"{COMMIT}\n\n\n", "\nx\n9e9\n"):
        note.write_text(text)
        assert hub_commit(fetched) == ""
    note.unlink()
    with pytest.raises(ConfigError, match=r"does not say of which commit it is\. Leave model\.revision empty to take"):
        require_commit(fetched, COMMIT)


def test_a_file_that_was_written_since_is_of_no_commit(fetched):
    os.utime(fetched / "config.json", (9e9, 9e9))
    assert hub_commit(fetched) == ""


def test_the_hubs_own_cache_names_the_commit():
    assert hub_commit(Path("models--org--tiny") / "snapshots" / COMMIT) == COMMIT
    assert hub_commit(Path("models--org--tiny") / COMMIT) == ""
