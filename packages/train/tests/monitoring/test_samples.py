"""Sample answers: what the model would say next, whatever the method; and a run with them is the run without them."""

from __future__ import annotations

import pytest
import torch
from camelid_core.integrity import sha256
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.records import Message, Record, alpaca
from camelid_core.tasks import Interrupted
from camelid_core.tokenization.encoder import Encoder
from camelid_train.methods import MethodContext
from camelid_train.methods.registry import method_of, methods
from camelid_train.monitoring import samples
from camelid_train.run import train
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RECORDS = [alpaca("Add 3 and 4." + " Please." * more, f"It is {more}.") for more in (0, 5, 1)]
ON = ("eval.samples=2", "eval.sample_tokens=6")


@pytest.fixture(scope="module")
def encoder(base):
    resolved = resolve_model(str(base()), load_host())
    return Encoder(load_tokenizer(resolved), load_host().templates["chatml"])


def made(recipe, *overrides, family="llama"):
    """A model under the recipe's method, with parameters that are no longer where they began."""
    config = recipe(*overrides, family=family)
    method = method_of(config.method)
    resolved = resolve_model(config.model.name, load_host())
    batch = {"input_ids": torch.tensor([[5, 6, 7]]), "labels": torch.tensor([[5, 6, 7]])}
    method_context = MethodContext(resolved, "float32", 10, lambda: iter([batch]))
    model = method.prepare(method.load(resolved, "float32", config.method), config.method, method_context)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.15)
    return model.train()


@torch.no_grad()
def one_by_one(model, encoder, prompt: list[int], tokens: int) -> str:
    """Each next token from the whole text so far, as training computes it."""
    model.eval()
    stops, texts = samples._stops(model, encoder)
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    model.train()
    return samples._decode(ids[len(prompt) :], stops, texts, encoder)


@pytest.mark.parametrize("method", [name for name in methods().names() if name != "lora-gptq"])
def test_every_method_answers_as_it_would_token_by_token(recipe, encoder, home, method):
    model = made(recipe, f"method.type={method}", family="qwen2" if method == "prompt" else "llama")
    prompts = samples.sample_prompts(RECORDS, encoder, 3, 400)
    answers = samples.greedy_answers(model, encoder, [prompt.ids for prompt in prompts], 8)
    assert answers == [one_by_one(model, encoder, prompt.ids, 8) for prompt in prompts]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "overrides",
    [
        ("method.dropout=0.2",),
        pytest.param(("model.rope=dynamic:4",), marks=SLOW),
        pytest.param(("method.type=prefix",), marks=SLOW),
    ],
)
def test_a_run_with_samples_ends_with_the_same_weights(attempt, recipe, overrides):
    runs = [attempt(job=job) for job in (1, 2)]
    for run, more in zip(runs, ((), ON), strict=True):
        train(recipe("eval.steps=2", "train.max_steps=4", *overrides, *more), run)
    plain, sampled = [sha256(run.output / "adapter_model.safetensors") for run in runs]
    assert plain == sampled
    assert not runs[0].events("sample")
    assert [(event["step"], event["index"]) for event in runs[1].events("sample")] == [
        (step, index) for step in (0, 2, 4) for index in (0, 1)
    ]


@pytest.mark.slow
def test_an_interrupted_run_with_samples_goes_on_bit_for_bit(attempt, recipe):
    config = recipe("eval.steps=2", "train.max_steps=6", "method.dropout=0.1", *ON)
    whole, first, last = attempt(job=1), attempt(1, job=2), attempt(2, job=2)
    train(config, whole)
    first.stop_at = (3, "save")
    with pytest.raises(Interrupted):
        train(config, first)
    train(config, last)
    assert sha256(last.output / "adapter_model.safetensors") == sha256(whole.output / "adapter_model.safetensors")
    sample_events = first.events("sample") + last.events("sample")
    strip = [{key: value for key, value in event.items() if key != "time"} for event in sample_events]
    assert strip == [{key: value for key, value in event.items() if key != "time"} for event in whole.events("sample")]


def test_an_event_has_what_was_asked_what_was_said_and_what_the_data_says(attempt, recipe):
    run = attempt()
    train(recipe("train.max_steps=1", *ON), run)
    for event in run.events("sample"):
        assert event["prompt"].startswith("Add ")
        assert event["reference"].startswith("The answer is ")
        assert isinstance(event["answer"], str)


def test_what_goes_wrong_is_said_once_and_the_run_goes_on(attempt, recipe, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such kernel\nand much more")

    monkeypatch.setattr(samples, "greedy_answers", fail)
    run = attempt()
    assert train(recipe("train.max_steps=4", "eval.steps=1", *ON), run)["steps"] == 4
    logs = [event["text"] for event in run.events("log") if "sample answers" in event["text"]]
    assert logs == ["This run goes on without sample answers: no such kernel"]


def test_nothing_is_left_behind(recipe, encoder, home):
    model = made(recipe, "model.rope=dynamic:2")
    model.get_submodule("base_model.model.model.layers.0").eval()  # somebody's own choice
    rotary = next(module for module in model.modules() if hasattr(module, "max_seq_len_cached"))
    before = [module.training for module in model.modules()], torch.random.get_rng_state()
    angles, longest = rotary.inv_freq.clone(), rotary.max_seq_len_cached
    with samples.temporary_eval_mode(model):
        assert not any(module.training for module in model.modules())
        torch.rand(3)
        rotary.register_buffer("inv_freq", angles * 2, persistent=False)
        rotary.max_seq_len_cached = 10**6
    after = [module.training for module in model.modules()], torch.random.get_rng_state()
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    if getattr(rotary, "rope_type", "") == "dynamic":
        assert torch.equal(rotary.inv_freq, angles)
        assert rotary.max_seq_len_cached == longest


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 8), st.integers(1, 120))
def test_questions_are_as_many_as_can_be_had_of_all_parts_of_the_data(encoder, extra, count, longest):
    records = [alpaca("x" + " y" * more, str(place)) for place, more in enumerate(extra)]
    found = samples.sample_prompts(records, encoder, count, longest)
    assert len(found) <= min(count, len(records))
    assert all(len(prompt.ids) <= longest for prompt in found)
    places = [int(prompt.reference) for prompt in found]
    assert places == sorted(set(places))
    if longest == 120 and records:
        assert len(found) == min(count, len(records))


def test_conversations_that_the_template_has_no_form_for_are_passed_over(encoder):
    encoder = Encoder(encoder.tokenizer, load_host().templates["vicuna"])  # which takes turns in order alone
    odd = Record((Message("user", "a"), Message("user", "b"), Message("assistant", "c")))
    assert samples.sample_prompts([odd, Record((Message("assistant", "x"),)), Record(())], encoder, 3, 100) == []
    (prompt,) = samples.sample_prompts([odd, RECORDS[0]], encoder, 1, 100)
    assert prompt.reference == "It is 0."
