"""What is added to an artefact later leaves it sound, whenever it is interrupted."""

from __future__ import annotations

import pytest
from camelid_core import artefact_additions as module
from camelid_core.artefact_additions import add_to_artefact
from camelid_core.artefacts import Manifest, verify_directory, write_manifest
from camelid_core.calibration import calibration_of, row_hash
from camelid_core.integrity import write_durably
from camelid_core.records import alpaca


@pytest.fixture
def artefact(tmp_path):
    (tmp_path / "weights.txt").write_text("many")
    (tmp_path / "README.md").write_text("# Card\n")
    write_manifest(tmp_path, Manifest(kind="gguf", packages={"torch": "1"}, metrics={"size": 4}))
    return tmp_path


def test_files_and_metrics_are_added_and_the_rest_stays(artefact):
    before = verify_directory(artefact).manifest
    add_to_artefact(artefact, {"proof.json": "{}", "README.md": "# New\n"}, {"proof": {"passed": True}})
    after = verify_directory(artefact).manifest
    assert after.metrics == {"size": 4, "proof": {"passed": True}}
    assert set(after.files) == {"README.md", "proof.json", "weights.txt"}
    assert after.files["weights.txt"] == before.files["weights.txt"]
    assert (after.created, after.packages) == (before.created, before.packages)


@pytest.mark.parametrize("last", range(4))
def test_a_kill_after_any_write_leaves_an_artefact_that_verifies(artefact, monkeypatch, last):
    add_to_artefact(artefact, {"proof.json": "{}"}, {"proof": {"passed": False}})
    done = []

    def killed(path, data):
        if len(done) == last:
            raise OSError("killed")
        done.append(path.name)
        write_durably(path, data)

    monkeypatch.setattr(module, "write_durably", killed)
    with pytest.raises(OSError, match="killed"):
        add_to_artefact(artefact, {"proof.json": "[]", "README.md": "# New\n"}, {"proof": {"passed": True}})
    assert len(done) == last
    assert verify_directory(artefact).manifest.metrics["proof"] == {"passed": False}


def test_a_row_is_known_by_its_hash_however_it_is_spaced():
    row = alpaca("What is 2 + 3?", "5")
    assert row_hash(row) == row_hash(alpaca("What  is 2 + 3?\n", "5", id="x", source="y"))
    assert row_hash(row) != row_hash(alpaca("What is 2 + 3?", "6"))


@pytest.mark.parametrize(
    ("told", "data", "hashes"),
    [
        ({"data": "wiki", "rows": 2, "hashes": ["a", "b"]}, "wiki", {"a", "b"}),
        (["wiki", "code"], "wiki, code", set()),
        ({"data": "wiki"}, "wiki", set()),
    ],
)
def test_a_manifest_tells_its_calibration(told, data, hashes):
    found = calibration_of(Manifest(kind="gguf", parameters={"export": {"calibration": told}}))
    assert (found.data, found.hashes) == (data, hashes)


def test_names_of_data_are_no_hashes_and_those_of_the_rows_are_found_beside_them():
    """As a GGUF export tells them: what was asked for, and what it was computed on."""
    export = {"calibration": ["wiki"], "calibration_data": {"sources": ["wiki"], "rows": 1, "hashes": ["a"]}}
    found = calibration_of(Manifest(kind="gguf", parameters={"export": export}))
    assert (found.data, found.hashes) == ("wiki", {"a"})
    found = calibration_of(Manifest(kind="gguf", parameters={"export": {"calibration": [], "imatrix": "x.gguf"}}))
    assert (found.data, found.hashes) == ("x.gguf", set())


@pytest.mark.parametrize("parameters", [{}, {"export": {}}, {"export": "nf4"}, {"export": {"calibration": None}}])
def test_a_manifest_without_calibration_tells_none(parameters):
    assert calibration_of(Manifest(kind="model", parameters=parameters)) is None
    assert calibration_of(None) is None
