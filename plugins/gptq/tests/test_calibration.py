"""Calibration rows: as many as asked for or none, the same for the same seed, under the template, never held out."""

from __future__ import annotations

import json

import pytest
from camelid_core.artefacts import DatasetUse, Licences, Manifest, write_manifest
from camelid_core.errors import DataError, UnknownName
from camelid_core.mixing import mix
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.template_choice import template_of
from camelid_core.quality.row_keys import fingerprint
from camelid_core.testing import write_jsonl
from camelid_core.tokenization.encoder import Encoder
from camelid_gptq.calibration import calibration_rows
from camelid_gptq.own_rows import own_tokens, rows_that_fit, shortage
from camelid_gptq.section import GptqSection
from camelid_train.config import DataSection
from camelid_train.export.calibration_data import calibration_data
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def calibrate(base, host):
    """The calibration of a model, the tiny one where none is given."""

    def make(model=None, **settings):
        source = resolve_model(str(model or base()), host)
        encoder = Encoder(load_tokenizer(source), template_of(source, host, "" if model else "chatml"))
        said: list[str] = []
        section = GptqSection(**{"rows": 8, "seqlen": 64, **settings})
        data = calibration_data(source, section.calibration, host, said.append)
        made = calibration_rows(data, section, encoder, said.append)
        return made, encoder, said

    return make


@pytest.fixture
def tuned(base, talk, tmp_path):
    """A model that was trained on `talk`, as its manifest says."""
    import shutil

    directory = shutil.copytree(base(), tmp_path / "tuned")
    data = DataSection(sources=[str(talk)], eval_rows=16, split_seed=3, template="chatml").model_dump(mode="json")
    encoder = Encoder(*_tokenizer_and_template(directory))
    from camelid_core.template_contract import make_contract

    contract = make_contract(encoder.template, encoder.tokenizer)
    write_manifest(directory, Manifest(kind="model", parameters={"data": data}, template=contract, licences=Licences()))
    return directory


def _tokenizer_and_template(directory):
    from camelid_core.plugins import load_host

    source = resolve_model(str(directory), load_host())
    return load_tokenizer(source), template_of(source, load_host(), "chatml")


def test_rows_are_as_many_and_as_long_as_asked_and_the_seed_decides_which(calibrate, talk):
    first, _, _ = calibrate(calibration=str(talk))
    again, _, _ = calibrate(calibration=str(talk))
    other, _, _ = calibrate(calibration=str(talk), seed=1)
    assert [len(row) for row in first.rows] == [64] * 8
    assert first.rows == again.rows
    assert first.sha256 == again.sha256 != other.sha256
    entry = first.entry
    assert {name: entry[name] for name in ("name", "rows", "seqlen", "hash")} == {
        "name": "talk.jsonl", "rows": 8, "seqlen": 64, "hash": first.sha256,
    }  # fmt: skip
    assert str(talk.parent) not in json.dumps(entry)


def test_conversations_are_rendered_under_the_template_and_rows_begin_with_one(calibrate, talk):
    made, encoder, _ = calibrate(calibration=str(talk))
    whole = [encoder.example(record.messages).input_ids for record in made.records]
    for row in made.rows:
        assert any(ids[:64] == row[: len(ids)] for ids in whole)
    joined = [token for ids in whole for token in ids]
    assert made.rows[0] == joined[:64]
    assert made.entry["hashes"] == sorted({fingerprint(record).hex() for record in made.records})


def test_texts_are_one_stream_and_rows_are_windows_of_it(calibrate, tmp_path):
    lines = [f"Line {n} is here.\n" if n % 3 else "" for n in range(600)]
    file = write_jsonl(tmp_path / "lines.jsonl", [{"text": line or " "} for line in lines])
    made, encoder, _ = calibrate(calibration=str(file), rows=16)
    assert len({tuple(row) for row in made.rows}) > 8
    stream = encoder.decode([token for token in made.rows[0] if token not in encoder.stop_ids])
    assert "is here.\n" in stream
    assert "\n \n" in "".join(encoder.decode(row) for row in made.rows)


def test_too_few_rows_are_refused_with_how_many_there_are(calibrate, talk, tmp_path):
    with pytest.raises(DataError, match=r"gives \d+ rows of 64 tokens, and rows=9,999 are asked for\. Ask"):
        calibrate(calibration=str(talk), rows=9999)
    text = tmp_path / "short.txt"
    text.write_text("Too short.")
    with pytest.raises(DataError, match=r"gives 0 rows of 64 tokens.*Ask for a seqlen under 64"):
        calibrate(calibration=str(text))
    with pytest.raises(UnknownName, match="cot-arithmetic"):
        calibrate(calibration="cot-arithmetik")


def test_a_model_is_calibrated_with_its_training_data_and_never_with_what_was_held_out(calibrate, tuned, talk, host):
    heldout = mix(DataSection(sources=[str(talk)], eval_rows=16, split_seed=3), host.datasets, 16, None, 3).heldout
    assert len(heldout) == 16
    keys = {fingerprint(record).hex() for record in heldout}
    # as many rows as there are: every training row is used, so a held-out one would be, too
    for settings in ({}, {"calibration": str(talk)}):
        most = 0
        for rows in range(1, 200):
            try:
                made, _, _ = calibrate(tuned, rows=rows, **settings)
            except DataError:
                break
            most = rows
        made, _, _ = calibrate(tuned, rows=most, **settings)
        assert len(made.records) > 150
        assert not keys & set(made.entry["hashes"])
        assert made.name == "talk.jsonl"


def test_training_data_that_are_gone_are_said_and_another_set_is_taken(calibrate, tuned, talk, tmp_path):
    other = write_jsonl(tmp_path / "other.jsonl", [json.loads(line) for line in talk.read_text().splitlines()])
    hidden = talk.rename(talk.with_name("hidden.jsonl"))
    try:
        with pytest.raises(DataError, match=r"cannot be read.*calibration=NAME"):
            calibrate(tuned)
        _, _, said = calibrate(tuned, calibration=str(other))
        assert "cannot be told apart" in said[0]
    finally:
        hidden.rename(talk)


@given(tokens=st.integers(1, 10**8), longest=st.sampled_from([128, 512, 2048]))
def test_rows_that_are_offered_are_those_that_the_training_data_give(tokens, longest):
    rows, seqlen = rows_that_fit(tokens, longest)
    assert 1 <= rows <= 128
    assert 128 <= seqlen <= longest
    manifest = trained_on(tokens)
    if tokens > 150:
        assert shortage(manifest, GptqSection(rows=rows, seqlen=seqlen)) == ""
    asked = GptqSection(rows=128, seqlen=longest)
    if tokens < 128 * longest:
        assert f"about {tokens:,} tokens" in shortage(manifest, asked)
        assert f"Ask for rows={rows} seqlen={seqlen}" in shortage(manifest, asked)
    else:
        assert shortage(manifest, asked) == ""


def test_what_its_run_read_more_than_once_is_counted_once():
    assert own_tokens(trained_on(5000, epochs=3)) == 5000
    assert own_tokens(trained_on(5000).model_copy(update={"metrics": {}})) is None
    assert own_tokens(Manifest(kind="model")) is None
    assert shortage(None, GptqSection()) == ""


def trained_on(tokens, epochs=1):
    """The manifest of a run of 320 rows that have so many tokens."""
    return Manifest(
        kind="model",
        datasets=[DatasetUse(id="d", rows=320, sha256="0" * 64, licence="cc0-1.0")],
        parameters={"train": {"batch_size": 4, "accumulation": 2}, "launch": {"processes": 2}},
        metrics={"steps": 20 * epochs, "total_tokens": tokens * epochs},
    )
