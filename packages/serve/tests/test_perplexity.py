"""Perplexity against context length: the numbers are what a plain computation gives, however the work is cut."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from camelid_core.artefacts import verify_directory
from camelid_core.errors import ConfigError, DataError, ModelError
from camelid_core.models.loading import load_base, load_tokenizer, with_rope_scaling
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.rope import RopeScaling
from camelid_core.plugins import load_host
from camelid_core.tasks import Interrupted
from camelid_core.testing import tiny_model, tiny_tokenizer, write_jsonl
from camelid_serve.engines import logprobs
from camelid_serve.evaluations import long_texts
from camelid_serve.evaluations import perplexity as module
from camelid_serve.evaluations.long_context_config import ContextConfig
from camelid_serve.evaluations.plots import PLOT_PNG, PLOT_SVG
from camelid_serve.evaluations.result_files import RESULTS, read_results
from camelid_serve.evaluations.synthetic_text import synthetic_day_book
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM

from .context import Attempt

LENGTHS = [32, 64, 128]
STRIDE = 8
WINDOWS = 3

Ask = Callable[..., ContextConfig]


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that minds what came before, and where."""
    place = tiny_model(tmp_path_factory.mktemp("models") / "sharp")
    model = AutoModelForCausalLM.from_pretrained(place)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
    model.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("texts") / "book.txt"
    place.write_text(synthetic_day_book(3000), encoding="utf-8")
    return place


@pytest.fixture
def drawn() -> None:
    """For tests that look at the plot: drawing takes longer than all the rest."""


@pytest.fixture(autouse=True)
def _no_more_plots_than_needed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.fixture
def asking(sharp: Path, book: Path) -> Ask:
    def ask(**more: Any) -> ContextConfig:
        values = {"models": [str(sharp)], "text": str(book), "lengths": LENGTHS, "windows": WINDOWS, "dtype": "float32"}
        return ContextConfig(**values | {"predicted": STRIDE} | more)

    return ask


def plainly(model: Any, ids: list[int], length: int) -> float:
    """Token by token: each from all that stands before it in its window."""
    found = long_texts.window_ends([ids], LENGTHS[-1], STRIDE, WINDOWS)
    costs = []
    with torch.inference_mode():
        for end in (each.end for each in found):
            for at in range(end - STRIDE, end):
                logits = model(torch.tensor([ids[end - length : at]])).logits[0, -1]
                costs.append(-float(logits.double().log_softmax(-1)[ids[at]]))
    return sum(costs) / len(costs)


@pytest.mark.parametrize("rope", ["", "linear:2", "yarn:2"])
def test_losses_are_what_a_plain_computation_gives(
    asking: Ask, sharp: Path, book: Path, tmp_path: Path, rope: str
) -> None:
    attempt = Attempt(tmp_path)
    module.run(asking(rope=[rope] if rope else []), attempt)
    resolved = resolve_model(str(sharp), load_host())
    ids = load_tokenizer(resolved)(book.read_text(encoding="utf-8")).input_ids
    model = load_base(with_rope_scaling(resolved, RopeScaling.parse(rope)) if rope else resolved, "float32")
    points = read_results(attempt.output)["variants"][-1]["points"]
    assert [point["length"] for point in points] == LENGTHS
    for point in points:
        assert point["loss"] == pytest.approx(plainly(model, ids, point["length"]), abs=1e-4)
    assert len({round(point["loss"], 2) for point in points}) == len(LENGTHS)


def test_how_the_work_is_cut_changes_nothing(asking: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number, (together, predicted, stride) in enumerate([(8192, 512, 256), (1, 1, 3), (200, 24, 7)]):
        monkeypatch.setattr(module, "_TOKENS_PER_PASS", together)
        monkeypatch.setattr(module, "_LOGITS_PER_PASS", predicted)
        monkeypatch.setattr(logprobs, "_STRIDE", stride)
        attempt = Attempt(tmp_path / str(number))
        module.run(asking(), attempt)
        found.append([point["loss"] for point in read_results(attempt.output)["variants"][0]["points"]])
    assert found[1] == pytest.approx(found[0], abs=1e-5)
    assert found[2] == pytest.approx(found[0], abs=1e-5)


def test_an_interrupted_run_ends_with_the_same_results(asking: Ask, tmp_path: Path) -> None:
    config = asking(rope=["linear:2", "dynamic:2"], lengths=[*LENGTHS, 600], text="")
    whole, first, second = Attempt(tmp_path / "a"), Attempt(tmp_path / "b", 1, "save", 5), Attempt(tmp_path / "b", 2)
    module.run(config, whole)
    with pytest.raises(Interrupted):
        module.run(config, first)
    module.run(config, second)
    assert (second.output / RESULTS).read_bytes() == (whole.output / RESULTS).read_bytes()
    progress = [event for event in second.events if event["kind"] == "progress"]
    assert progress[0]["done"] > 0
    assert progress[-1]["done"] == progress[-1]["total"]


def test_asked_to_finish_it_keeps_the_lengths_that_are_done(asking: Ask, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path, 1, "finish", 1)
    module.run(asking(rope=["linear:2"]), attempt)
    first, second = read_results(attempt.output)["variants"]
    assert [point["loss"] is None for point in first["points"]] == [False, True, True]
    assert [point["perplexity"] for point in second["points"]] == [None] * 3
    with pytest.raises(DataError, match="before a length"):
        module.run(asking(), Attempt(tmp_path / "at once", 1, "finish", 0))


@pytest.mark.usefixtures("drawn")
def test_the_artefact_has_a_line_for_each_variant(asking: Ask, adapter: Path, base: Path, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    summary = module.run(asking(models=[str(base), str(adapter)], rope=["linear:2", "yarn:4"]), attempt)
    labels = ["tiny", "tiny linear:2", "tiny yarn:4", "adapter", "adapter linear:2", "adapter yarn:4"]
    results = read_results(attempt.output)
    assert [variant["label"] for variant in results["variants"]] == labels
    assert [variant["context"] for variant in results["variants"]] == [512, 1024, 2048] * 2
    assert {f"perplexity {label}" for label in labels} <= set(summary)
    manifest = verify_directory(attempt.output).manifest
    assert (manifest.kind, manifest.datasets[0].id) == ("evaluation", "book.txt")
    assert {RESULTS, PLOT_SVG, PLOT_PNG} <= set(manifest.files)
    drawn = ElementTree.parse(attempt.output / PLOT_SVG).getroot()
    assert drawn.tag.endswith("svg")
    words = " ".join(element.text or "" for element in drawn.iter() if element.tag.endswith("text"))
    assert all(label in words for label in labels)
    assert {f"variant-{number}" for number in range(6)} <= {element.get("id") for element in drawn.iter()}


@pytest.mark.usefixtures("drawn")
def test_the_same_results_give_the_same_plot(asking: Ask, tmp_path: Path) -> None:
    attempts = Attempt(tmp_path / "a"), Attempt(tmp_path / "b")
    for attempt in attempts:
        module.run(asking(lengths=[32]), attempt)
    assert len({(attempt.output / PLOT_SVG).read_bytes() for attempt in attempts}) == 1


def test_without_matplotlib_all_but_the_plot_is_there(asking: Ask, tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    module.run(asking(), attempt)
    assert {path.name for path in attempt.output.iterdir()} == {RESULTS, "camelid.json"}
    assert any("camelid-serve[plots]" in event.get("text", "") for event in attempt.events)


def test_a_table_of_positions_that_ends_is_a_sentence(asking: Ask, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    config = AutoConfig.for_model("gpt2", vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=1, n_head=2)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    says = r"gpt2 has a table of 64 positions and cannot be evaluated at 128; .* to 64\."
    with pytest.raises(ModelError, match=says):
        module.run(asking(models=[str(tmp_path / "gpt2")]), Attempt(tmp_path / "a"))
    attempt = Attempt(tmp_path / "b")
    module.run(asking(models=[str(tmp_path / "gpt2")], lengths=[32, 64]), attempt)
    assert all(point["loss"] for point in read_results(attempt.output)["variants"][0]["points"])


def test_positions_that_are_computed_go_on_for_ever(asking: Ask, tmp_path: Path) -> None:
    """Rotary ones go on beyond what the model was trained with; BLOOM's have no end at all, and nothing to scale."""
    bloom = str(tiny_model(tmp_path / "bloom", "bloom"))
    attempt = Attempt(tmp_path / "a")
    module.run(asking(models=[*asking().models, bloom], lengths=[64, 640], windows=2), attempt)
    assert all(point["loss"] for variant in read_results(attempt.output)["variants"] for point in variant["points"])
    with pytest.raises(ModelError, match="no rotary positions"):
        module.run(asking(models=[bloom], rope=["linear:2"]), Attempt(tmp_path / "b"))


def test_a_model_with_rope_scaling_stays_as_it_is(asking: Ask, sharp: Path, tmp_path: Path) -> None:
    resolved = resolve_model(str(sharp), load_host())
    long = tmp_path / "long"
    load_base(with_rope_scaling(resolved, RopeScaling("linear", 4.0)), "float32").save_pretrained(long)
    load_tokenizer(resolved).save_pretrained(long)
    attempt = Attempt(tmp_path / "job")
    module.run(asking(models=[str(sharp), str(long)], rope=["linear:4"]), attempt)
    scaled, trained = read_results(attempt.output)["variants"][1:]
    assert (scaled["label"], trained["label"]) == ("sharp linear:4", "long")
    assert scaled["points"] == trained["points"]
    assert any(
        "long has RoPE scaling already (linear, factor 4.0)" in event.get("text", "") for event in attempt.events
    )


def test_texts_come_as_rows_too(asking: Ask, book: Path, tmp_path: Path) -> None:
    text = book.read_text(encoding="utf-8")
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"text": text}, {"text": "short"}])
    attempts = Attempt(tmp_path / "a"), Attempt(tmp_path / "b")
    for attempt, source in zip(attempts, (book, rows), strict=True):
        module.run(asking(text=str(source)), attempt)
    plain, from_rows = (read_results(attempt.output)["variants"] for attempt in attempts)
    assert plain == from_rows


@pytest.mark.parametrize(
    ("name", "holds", "says"),
    [
        ("nowhere.txt", None, r"nowhere\.txt' cannot be read"),
        ("empty.txt", b" \n", "holds no text"),
        ("latin.txt", b"caf\xe9", "not UTF-8 at byte 3"),
        ("short.txt", b"a few words", r"no text is 128 tokens long, the longest has \d+"),
        ("rows.jsonl", b'{"output": "x"}\n', r"rows\.jsonl, line 1: no `text`"),
        ("rows.jsonl", b"{\n", "line 1"),
    ],
)
def test_what_cannot_be_read_is_said(asking: Ask, tmp_path: Path, name: str, holds: bytes | None, says: str) -> None:
    if holds is not None:
        (tmp_path / name).write_bytes(holds)
    with pytest.raises(DataError, match=says):
        module.run(asking(text=str(tmp_path / name)), Attempt(tmp_path / "job"))


def test_models_that_cut_texts_otherwise_are_not_compared(asking: Ask, tmp_path: Path) -> None:
    other = tiny_model(tmp_path / "other", tokenizer=tiny_tokenizer(vocabulary=300))
    with pytest.raises(DataError, match="sharp and other cut texts into different tokens"):
        module.run(asking(models=[*asking().models, str(other)]), Attempt(tmp_path / "job"))


@given(st.lists(st.integers(0, 300), min_size=1), st.integers(16, 100), st.integers(1, 8), st.integers(1, 40))
def test_no_token_is_predicted_twice_and_each_has_its_whole_context(
    sizes: list[int], longest: int, stride: int, count: int
) -> None:
    read = [range(size) for size in sizes]
    if max(sizes) < longest:
        with pytest.raises(DataError, match=f"the longest has {max(sizes)}"):
            long_texts.window_ends(read, longest, stride, count)
        return
    found = long_texts.window_ends(read, longest, stride, count)
    predicted = [(each.text, at) for each in found for at in range(each.end - stride, each.end)]
    assert len(set(predicted)) == len(predicted)
    assert all(len(long_texts.window(read, each, longest)) == longest for each in found)
    room = sum(max(0, (size - longest) // stride + 1) for size in sizes)
    assert len(found) == min(count, room)


def test_a_tokenizers_first_token_stands_first_in_each_window(sharp: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(resolve_model(str(sharp), load_host()))
    assert long_texts.bos_ids(tokenizer) == []
    ids = list(range(100))
    assert long_texts.window([ids], long_texts.WindowEnd(0, 50), 8, [7]) == [7, *ids[43:50]]
    assert long_texts.window([ids], long_texts.WindowEnd(0, 50), 8) == ids[42:50]


def test_what_is_asked_is_checked_at_once() -> None:
    config = ContextConfig(lengths=[512, 64, 64], predicted=128, rope=["linear:2", "linear:2"])
    assert (config.lengths, config.stride, config.rope) == ([64, 512], 32, ["linear:2"])
    with pytest.raises(ConfigError, match="dynamic:4"):
        config.with_overrides(["rope=['twice']"])
    with pytest.raises(ConfigError, match="lengths"):
        config.with_overrides(["lengths=[8]"])


def test_nothing_read_before_changes_what_a_model_with_dynamic_positions_says(sharp: Path) -> None:
    resolved = with_rope_scaling(resolve_model(str(sharp), load_host()), RopeScaling("dynamic", 4.0))
    model = load_base(resolved, "float32").eval()
    windows = {length: torch.arange(length)[None] % 300 for length in (100, 700, 1100)}
    with torch.inference_mode():
        upwards = [logprobs.token_losses(model, windows[length], 8) for length in windows]
        downwards = [logprobs.token_losses(model, windows[length], 8) for length in reversed(windows)]
    assert all(torch.equal(*pair) for pair in zip(upwards, reversed(downwards), strict=True))
    plain = load_base(replace(resolved, rope_scaled=False), "float32").eval()
    with torch.inference_mode():
        same = [
            torch.equal(logprobs.token_losses(plain, windows[length], 8), upwards[at])
            for at, length in enumerate(windows)
        ]
    assert same == [True, False, False]


def test_the_day_book_says_the_same_of_everybody_for_ever() -> None:
    assert synthetic_day_book(5000, 1).startswith(synthetic_day_book(1000, 1))
    assert synthetic_day_book(1000, 1) != synthetic_day_book(1000, 2)
    book = synthetic_day_book(20_000, 1)
    assert len(book) >= 20_000
    traders = [re.findall(r"[A-Z][a-z]+|\d+(?= crowns)", line.split(". ", 1)[1]) for line in book.splitlines()]
    stats = [frozenset(stats) - {"From"} for stats in traders]  # two names, a town and a price
    by_names = {tuple(sorted(each)) for each in stats}
    assert all(len(each) == 4 for each in stats)
    assert 10 < len(by_names) < len(stats) / 2
    assert len({name for name, *_ in map(sorted, stats)}) <= len(by_names)
