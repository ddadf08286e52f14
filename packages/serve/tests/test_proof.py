"""Proofs of exports: what is the same passes, what is not fails, and calibration rows are never compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from camelid_core.artefacts import BaseModelEntry, Manifest, read_artefact, verify_directory, write_manifest
from camelid_core.calibration import row_hash
from camelid_core.datasets.files import file_dataset
from camelid_core.errors import DataError, DiskFull, ModelError, UsageError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted
from camelid_core.template_contract import make_contract
from camelid_core.testing import tiny_model, tiny_tokenizer, write_jsonl
from camelid_serve.engines import transformers as engine
from camelid_serve.evaluations.proof import comparison
from camelid_serve.evaluations.proof import proof_task as task
from camelid_serve.evaluations.proof.proof_config import ProofConfig
from camelid_serve.evaluations.proof.record import END, START, with_section
from camelid_serve.evaluations.proof.template_equality import compare_templates
from camelid_serve.loaded_models import load_encoder
from transformers import AutoModelForCausalLM

from .context import Attempt

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUICK = {"rows": 6, "cutoff": 96, "sample_tokens": 6}

Prove = Callable[..., dict[str, Any]]


def sharpened(directory: Path, seed: int = 0) -> Path:
    """A random model with a chat template whose distributions are far from even, as trained ones are."""
    tiny_model(directory, seed=seed)
    model = AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
    model.save_pretrained(directory)
    (directory / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sharpened(tmp_path_factory.mktemp("models") / "source")


@pytest.fixture
def copy(source: Path, tmp_path: Path) -> Path:
    """The same model, to be changed."""
    return Path(shutil.copytree(source, tmp_path / "copy"))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    given = [{"instruction": f"What is {n} + {n}?", "output": f"It is {2 * n}, as {n} and {n}."} for n in range(12)]
    return write_jsonl(tmp_path / "rows.jsonl", given)


@pytest.fixture
def prove(source: Path, rows: Path, tmp_path: Path) -> Prove:
    """Runs the task; returns its summary and, as `results`, what is in proof.json."""
    count = 0

    def run(export: Path, **more: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        values = {"source": str(source), "export": str(export), "data": str(rows), "dtype": "float32", **QUICK, **more}
        attempt = Attempt(tmp_path / f"job-{count}")
        summary = task.run(ProofConfig(**values), attempt)
        assert verify_directory(attempt.output).manifest.kind == "evaluation"
        results = json.loads((attempt.output / "proof.json").read_text(encoding="utf-8"))
        return {**summary, "results": results, "attempt": attempt}

    return run


def test_a_model_is_as_good_as_itself(prove: Prove, source: Path, copy: Path) -> None:
    found = prove(copy)
    assert found["passed"] is True
    assert found["failed"] == []
    assert found["kl_mean"] == found["kl_max"] == 0
    assert found["kl_interval"] == [0, 0]
    assert found["top_equal"] == 1
    assert found["perplexity"] == found["perplexity_source"]
    assert found["perplexity_ratio"] == 1
    assert found["template_equal"] is True
    assert found["n_texts"] == 6
    assert found["size"] == sum(path.stat().st_size for path in copy.iterdir())
    assert all(sample["differs_at"] is None for sample in found["results"]["samples"])
    assert len(found["results"]["samples"]) == 3
    assert not list(found["attempt"].directory.glob("scores-*/*"))


def test_perplexities_are_those_of_the_answers_by_a_plain_computation(prove: Prove, source: Path, rows: Path) -> None:
    found = prove(source)
    encoder = load_encoder(resolve_model(str(source), load_host()), load_host(), "")
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    costs = []
    for record in list(file_dataset(rows).load("heldout", None))[:6]:
        example = encoder.example(record.messages)
        ids, labels = torch.tensor([example.input_ids[:96]]), torch.tensor(example.labels[:96])
        with torch.inference_mode():
            logits = model(ids).logits[0]
        costs.append(torch.nn.functional.cross_entropy(logits[:-1], labels[1:], reduction="none")[labels[1:] != -100])
    assert found["perplexity"] == pytest.approx(float(torch.cat(costs).mean().exp()), rel=1e-4)
    assert found["n_tokens"] == len(torch.cat(costs))


def test_the_same_in_bfloat16_passes_and_is_not_equal(prove: Prove, copy: Path) -> None:
    AutoModelForCausalLM.from_pretrained(copy, dtype=torch.bfloat16).save_pretrained(copy)
    found = prove(copy)
    assert found["passed"] is True, found["sentence"]
    assert found["results"]["export"]["format"] == "bfloat16"
    assert 0 < found["kl_mean"] < 1e-3


def test_another_model_fails_at_every_limit_and_says_why(prove: Prove, tmp_path: Path) -> None:
    found = prove(sharpened(tmp_path / "other", seed=1))
    assert found["passed"] is False
    assert {"kl_mean", "top_equal"} <= set(found["failed"])
    assert "is the limit" in found["sentence"]
    assert found["kl_max"] >= found["kl_mean"] > 0.1
    assert found["results"]["samples"][0]["differs_at"] is not None
    assert "template" not in found["failed"]


def test_limits_can_be_given(prove: Prove, tmp_path: Path) -> None:
    wide = {"kl_mean": 50.0, "top_equal": 0.0, "perplexity_ratio": 1e6}
    assert prove(sharpened(tmp_path / "other", seed=1), limits=wide)["passed"] is True


OTHER_END = CHATML.replace("}}<|im_end|>", "}} <|im_end|>")


@pytest.mark.parametrize(
    ("template", "why"), [(OTHER_END, ""), ("", "no chat template"), ("{{ raise_exception('no') }}", "")]
)
def test_a_changed_or_lost_template_is_found(prove: Prove, copy: Path, template: str, why: str) -> None:
    """Though the weights are equal: other programs prompt it by what it brings."""
    (copy / "chat_template.jinja").unlink()
    if template:
        (copy / "chat_template.jinja").write_text(template, encoding="utf-8")
    entry = BaseModelEntry(id="source")
    encoder = load_encoder(resolve_model(str(copy), load_host()), load_host(), "chatml")
    contract = make_contract(encoder.template, encoder.tokenizer)
    write_manifest(copy, Manifest(kind="model", base=entry, template=contract))
    found = prove(copy, template="chatml")
    assert found["template_equal"] is False
    assert found["failed"] == ["template"]
    differences = found["results"]["template"]["differences"]
    assert {each["how"] for each in differences} == {"by its own chat template"}
    assert all(why in each["why"] for each in differences)


def test_an_export_may_bring_the_template_that_its_source_is_asked_in(source: Path, tmp_path: Path) -> None:
    """Or the one that the source came with; not a third."""
    helpful = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
    came_with, asked_in, third = (Path(shutil.copytree(source, tmp_path / name)) for name in ("one", "two", "three"))
    (came_with / "chat_template.jinja").write_text(helpful, encoding="utf-8")
    (third / "chat_template.jinja").write_text(helpful.replace("kind", "brief"), encoding="utf-8")
    encoders = {
        place: load_encoder(resolve_model(str(place), load_host()), load_host(), "chatml")
        for place in (came_with, asked_in, third)
    }
    assert compare_templates(encoders[came_with], encoders[came_with]).equal
    assert compare_templates(encoders[came_with], encoders[asked_in]).equal
    assert not compare_templates(encoders[came_with], encoders[third]).equal


def exported(directory: Path, **export: Any) -> Path:
    """An artefact that says that it was exported, with a card."""
    (directory / "README.md").write_text("# My card\n\nMy words.\n", encoding="utf-8")
    parameters = {"export": {"type": "test", **export}}
    write_manifest(directory, Manifest(kind="model", base=BaseModelEntry(id="source"), parameters=parameters))
    return directory


def test_rows_that_it_was_calibrated_with_are_never_used(
    prove: Prove, copy: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = list(file_dataset(rows).load("train", None))
    hashes = [row_hash(record) for record in records[:8]]
    seen: list[Any] = []
    tokenized = task.tokenized_texts
    monkeypatch.setattr(task, "tokenized_texts", lambda e, given, n: (seen.extend(given), tokenized(e, given, n))[1])
    found = prove(exported(copy, calibration={"data": "rows", "rows": 8, "hashes": hashes}))
    assert found["n_texts"] == 4
    assert found["results"]["text"]["calibration_rows_left_out"] == 8
    assert {row_hash(record) for record in seen} == {row_hash(record) for record in records[8:]}
    assert any("8 rows" in note for note in found["results"]["text"]["notes"])
    with pytest.raises(DataError, match="not calibrated with"):
        prove(exported(copy, calibration={"data": "rows", "hashes": [row_hash(record) for record in records[:11]]}))


def test_calibration_without_hashes_is_said(prove: Prove, copy: Path) -> None:
    found = prove(exported(copy, calibration={"data": "wikitext", "rows": 8}))
    assert any("wikitext" in note and "cannot be known" in note for note in found["results"]["text"]["notes"])


def test_by_default_it_is_measured_on_what_training_held_out(prove: Prove, copy: Path, rows: Path) -> None:
    data = {"sources": [str(rows)], "eval_rows": 3, "split_seed": 5, "cutoff": 512, "template": ""}
    write_manifest(copy, Manifest(kind="model", base=BaseModelEntry(id="x"), parameters={"data": data}))
    more = [{"instruction": f"Say {n}.", "output": f"{n} it is."} for n in range(60)]
    write_jsonl(rows, more)
    found = prove(copy, data="")
    assert found["n_texts"] == 3
    assert found["results"]["text"]["name"].startswith("held-out rows of")
    assert str(rows.parent) not in json.dumps(found["results"])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "No manifest names data"),
        ({"sources": ["cot-arithmetic-en"], "eval_rows": 0}, "none were held out"),
        ({"sources": ["gone.jsonl"], "eval_rows": 4}, "cannot be had again"),
    ],
)
def test_without_held_out_rows_built_in_texts_are_used_and_it_is_said(
    prove: Prove, copy: Path, data: dict[str, Any] | None, why: str
) -> None:
    if data:
        write_manifest(copy, Manifest(kind="model", base=BaseModelEntry(id="x"), parameters={"data": data}))
    found = prove(copy, data="", cutoff=200)
    assert found["n_texts"] == 6
    assert any(why in note for note in found["results"]["text"]["notes"])


def test_an_export_at_home_is_told_its_proof_and_its_card_too(prove: Prove, copy: Path, home: Path) -> None:
    place = home / "artefacts" / "mine"
    place.parent.mkdir(parents=True)
    shutil.move(exported(copy), place)
    for _ in range(2):  # the second takes the place of the first
        found = prove(place)
        manifest = verify_directory(place).manifest
        told = manifest.metrics["proof"]
        assert told["passed"] is True
        assert told["against"]["name"] == "source"
        assert told == {name: found[name] for name in told}
        assert "proof.json" in manifest.files
        card = (place / "README.md").read_text(encoding="utf-8")
        assert card.startswith("# My card\n\nMy words.\n")
        assert card.count(START) == card.count(END) == 1
        assert "mean KL divergence per token" in card
        assert str(home) not in card + (place / "proof.json").read_text(encoding="utf-8")
    assert prove(place, record=False)["recorded"] == ""


def test_elsewhere_it_is_recorded_on_request_alone(prove: Prove, copy: Path) -> None:
    exported(copy)
    before = (copy / "camelid.json").read_bytes()
    assert prove(copy)["recorded"] == ""
    assert (copy / "camelid.json").read_bytes() == before
    assert prove(copy, record=True)["recorded"] == str(copy)
    assert read_artefact(copy).manifest.metrics["proof"]["passed"] is True


def test_a_plain_directory_takes_no_record(prove: Prove, copy: Path) -> None:
    with pytest.raises(UsageError, match="no artefact"):
        prove(copy, record=True)


def test_a_section_of_a_card_changes_nothing_else() -> None:
    card = "---\nlicense: mit\n---\n\n# A \\1 card\n\ntext\n"
    first = with_section(card, "one \\g<0>")
    assert first.startswith(card)
    again = with_section(first + "\nwords after it\n", "two")
    assert again == first.replace("one \\g<0>", "two") + "\nwords after it\n"


class Answering:
    """The real engine, which tells the probabilities of tokens that it generates and nothing else."""

    def __init__(self, *given: Any) -> None:
        self._real = real = LOAD(*given)
        self.context_length, self.adapters, self.close, self.stream = (
            real.context_length,
            real.adapters,
            real.close,
            real.stream,
        )


class Reading(Answering):
    """It tells those of a given prompt, too."""

    def prompt_logprobs(self, *given: Any) -> Any:
        return self._real.prompt_logprobs(*given)  # type: ignore[attr-defined]


LOAD = engine.load


def test_engines_without_distributions_are_compared_by_their_likeliest_tokens(
    prove: Prove, tmp_path: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than the whole divergence, whether the engine reads prompts out or is asked token by token."""
    other = sharpened(tmp_path / "other", seed=1)
    exact = prove(other, rows=2)
    monkeypatch.setattr(engine, "load", Reading)
    lumped = prove(other, rows=2)
    assert 1e-3 < lumped["kl_mean"] <= exact["kl_mean"] + 1e-4
    assert {"kl_mean", "top_equal"} <= set(lumped["failed"])
    assert "likeliest" in lumped["kl_of"]
    assert lumped["perplexity"] == pytest.approx(exact["perplexity"], rel=1e-4)
    monkeypatch.setattr(engine, "load", Answering)
    asked = prove(other, rows=2)
    assert asked["kl_mean"] <= exact["kl_mean"] + 1e-4
    assert asked["top_equal"] == exact["top_equal"]
    assert asked["perplexity"] is None
    checks = {check["name"]: check["passed"] for check in asked["results"]["limits"]["checks"]}
    assert checks["perplexity_ratio"] is None
    same = prove(copy, rows=2)
    assert same["kl_mean"] == pytest.approx(0, abs=1e-5)
    assert same["passed"] is True


def test_it_resumes_and_ends_with_the_same_numbers(
    prove: Prove, source: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sharpened(tmp_path / "other", seed=1)
    whole = prove(other)
    values = {"source": str(source), "export": str(other), "data": str(rows), "dtype": "float32", **QUICK}
    root = tmp_path / "resumed"
    with pytest.raises(Interrupted):
        task.run(ProofConfig(**values), Attempt(root, 1, "save", stop_after=3))
    read: list[int] = []
    scored = comparison.score
    monkeypatch.setattr(comparison, "score", lambda *given: (read.append(1), scored(*given))[1])
    summary = task.run(ProofConfig(**values), Attempt(root, 2))
    assert len(read) == 3  # the source had read all, and three were compared
    names = ("kl_mean", "kl_max", "top_equal", "perplexity_ratio", "n_tokens", "failed")
    assert {name: summary[name] for name in names} == {name: whole[name] for name in names}


def test_asked_to_finish_it_ends_with_what_was_compared(source: Path, rows: Path, tmp_path: Path) -> None:
    values = {"source": str(source), "export": str(source), "data": str(rows), "dtype": "float32", **QUICK}
    summary = task.run(ProofConfig(**values), Attempt(tmp_path / "job", 1, "finish", stop_after=3))
    assert summary["n_texts"] == 3
    with pytest.raises(DataError, match="two texts"):
        task.run(ProofConfig(**values), Attempt(tmp_path / "early", 1, "finish"))


def test_a_disk_that_is_too_small_is_said_before_a_model_is_loaded(
    prove: Prove, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(1, 1, 1000)  # type: ignore[attr-defined]
    monkeypatch.setattr(comparison.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(comparison, "load_resolved_model", None)
    with pytest.raises(DiskFull, match="--rows"):
        prove(source)


def test_a_smaller_vocabulary_is_a_sentence(prove: Prove, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "small", tokenizer=tiny_tokenizer(vocabulary=300))
    (other / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    with pytest.raises(ModelError, match="no export of that source"):
        prove(other)


def test_an_unknown_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="kl_mean"):
        ProofConfig(source="a", export="b", limits={"kl": 0.1})
