"""Adapters on one base (multi-LoRA): each answers as it does alone, whatever shares its batch, and takes memory for its
own weights alone."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from camelid_core.errors import ModelError, UnknownName
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.testing import tiny_model
from camelid_serve.engine import CannotShare, Request, Sampling
from camelid_serve.engines.transformers import TransformersEngine, load
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import AdaLoraConfig, IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

TOKENS = 6
TARGETS: dict[str, tuple[Sequence[str], ...]] = {
    "llama": (["q_proj"], ["q_proj", "v_proj"], ["down_proj"], "all-linear", ["lm_head", "k_proj"]),
    "gpt_neox": (["query_key_value"], ["query_key_value", "dense_4h_to_h"], "all-linear"),
    "bloom": (["query_key_value"], ["dense_h_to_4h", "query_key_value"]),
}


def base_model(directory: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def tuned(config: Any, base: Any, seed: int = 0) -> Any:
    """An adapter of random weights that change the answers, on a copy of the base."""
    torch.manual_seed(seed)
    model = get_peft_model(copy.deepcopy(base), copy.deepcopy(config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def write(config: Any, base: Path, directory: Path) -> Path:
    tuned(config, base_model(base)).save_pretrained(directory, save_embedding_layers=False)
    return directory


def lora(number: int, family: str = "llama", **more: Any) -> LoraConfig:
    targets = TARGETS[family][number % len(TARGETS[family])]
    options = {"r": 1 + number % 7, "lora_alpha": 16, "use_rslora": number % 3 == 0, "target_modules": targets}
    return LoraConfig(**options | {"init_lora_weights": False, "task_type": "CAUSAL_LM"} | more)


@dataclass
class Family:
    """A base, its adapters' directories, and its answers under each of them (and under None) to each prompt."""

    base: Path
    adapters: list[Path]
    prompts: list[list[int]]
    expected: Mapping[Path | None, list[list[int]]]


def generated_alone(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """A model's greedy answers, one token after the other, without a KV cache."""
    answers = []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(TOKENS):
            with torch.inference_mode():
                ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        answers.append(ids[len(prompt) :])
    return answers


def family_of(root: Path, family: str, configs: Sequence[Any]) -> Family:
    directory = tiny_model(root / "base", family)
    base = base_model(directory)
    numbers = random.Random(family)
    prompts = [[numbers.randrange(5, 300) for _ in range(length)] for length in (3, 12)]
    expected: dict[Path | None, list[list[int]]] = {None: generated_alone(base, prompts)}
    for number, config in enumerate(configs):
        model = tuned(config, base, number)
        expected[root / f"{number}"] = generated_alone(model, prompts)
        model.save_pretrained(root / f"{number}", save_embedding_layers=False)
    return Family(directory, [path for path in expected if path is not None], prompts, expected)


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family_of(tmp_path_factory.mktemp("sixteen"), "llama", [lora(number) for number in range(16)])


@pytest.fixture
def engine(sixteen: Family) -> Iterator[TransformersEngine]:
    """The base without adapters, ready for them."""
    engine = opened(sixteen.base)
    yield engine
    engine.close()


def opened(base: Path, slots: int = 17) -> TransformersEngine:
    engine = load(resolve_model(str(base), load_host()), "float32", slots)
    assert isinstance(engine, TransformersEngine)
    return engine


def add(engine: TransformersEngine, directory: Path) -> str:
    return engine.add_adapter(resolve_model(str(directory), load_host()))


def collect(engine: TransformersEngine, requests: Sequence[Request]) -> tuple[list[list[int]], list[list[float]]]:
    tokens: list[list[int]] = [[] for _ in requests]
    worth: list[list[float]] = [[] for _ in requests]
    for event in engine.stream(requests):
        if event.token is not None:
            tokens[event.index].append(event.token)
        if event.token_logprob is not None:
            worth[event.index].append(event.token_logprob.logprob)
    return tokens, worth


def asked(ids: Sequence[int], adapter: str | None, tokens: int = TOKENS) -> Request:
    return Request(ids, Sampling(max_new_tokens=tokens), adapter, logprobs=0)


def weight_bytes(engine: TransformersEngine) -> int:
    """Memory of the model's weights, each storage counted once."""
    model = engine._model
    stores = {tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())}
    return sum({store.data_ptr(): store.nbytes() for store in stores}.values())


def adapter_bytes(directory: Path) -> int:
    from safetensors import safe_open

    with safe_open(directory / "adapter_model.safetensors", "pt") as tensors:
        return sum(tensors.get_tensor(key).nbytes for key in tensors.keys())  # noqa: SIM118 - not a mapping


def test_sixteen_adapters_share_one_base_and_one_batch(sixteen: Family, engine: TransformersEngine) -> None:
    bare, modules = weight_bytes(engine), [name for name, _ in engine._model.named_modules()]
    names: list[str | None] = [None]
    for directory in sixteen.adapters:
        before = weight_bytes(engine)
        names.append(add(engine, directory))
        assert weight_bytes(engine) - before == adapter_bytes(directory)
    calls: list[int] = []
    engine._model.register_forward_pre_hook(
        lambda model, given, options: calls.append(len(options["input_ids"])), with_kwargs=True
    )
    tokens, worth = collect(engine, [asked(sixteen.prompts[0], name) for name in names])
    assert tokens == [answers[0] for answers in sixteen.expected.values()]
    assert max(calls) == 17
    assert sum(rows > 1 for rows in calls) == TOKENS - 1  # each step is one call for all
    assert len({tuple(row) for row in tokens}) > 12
    for name, together in zip(names, worth, strict=True):
        alone = collect(engine, [asked(sixteen.prompts[0], name)])[1][0]
        assert together == pytest.approx(alone, abs=1e-4)
    for name in names[1:]:
        engine.remove_adapter(str(name))
    assert (weight_bytes(engine), engine.adapters) == (bare, ())
    assert [name for name, _ in engine._model.named_modules()] == modules
    assert collect(engine, [asked(sixteen.prompts[0], None)])[0] == [sixteen.expected[None][0]]


@pytest.mark.parametrize("family", ["gpt_neox", "bloom"])
def test_other_families(tmp_path: Path, family: str) -> None:
    made = family_of(tmp_path, family, [lora(number, family) for number in range(4)])
    engine = opened(made.base, slots=6)
    try:
        names = [None, *(add(engine, directory) for directory in made.adapters)]
        requests = [asked(ids, name) for ids in made.prompts for name in names]
        expected = [answers[n] for n in range(len(made.prompts)) for answers in made.expected.values()]
        assert collect(engine, requests)[0] == expected
    finally:
        engine.close()


IA3 = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM")
ALONE: list[dict[str, Any]] = [
    {
        "DoraLinearVariant": lora(1, use_dora=True),
        "embeddings": lora(1, target_modules=["embed_tokens", "q_proj"]),
        "modules_to_save": lora(1, modules_to_save=["lm_head"]),
        "": lora(3),
    },
    {"IA3": IA3},
    {"ADALORA": AdaLoraConfig(total_step=10, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")},
    {"trainable_token_indices": lora(1, trainable_token_indices=[7, 8, 9])},
]


@pytest.mark.parametrize("kinds", ALONE, ids=lambda kinds: next(iter(kinds)))
def test_adapters_that_cannot_share_a_batch_answer_the_same(tmp_path: Path, kinds: dict[str, Any]) -> None:
    made = family_of(tmp_path, "llama", list(kinds.values()))
    engine = opened(made.base, slots=4)
    try:
        names = [None, *(add(engine, directory) for directory in made.adapters)]
        for name, why in zip(names[1:], kinds, strict=True):
            assert why in engine.why_not_batched(str(name))
            assert bool(why) == bool(engine.why_not_batched(str(name)))
        requests = [asked(ids, name) for ids in made.prompts for name in names]
        expected = [answers[n] for n in range(len(made.prompts)) for answers in made.expected.values()]
        assert collect(engine, requests)[0] == expected
        engine.remove_adapter(str(names[1]))
        left = [pair for pair in zip(requests, expected, strict=True) if pair[0].adapter != names[1]]
        assert collect(engine, [request for request, _ in left])[0] == [answer for _, answer in left]
    finally:
        engine.close()


def written(directory: Path, base: Path, **fields: Any) -> Path:
    """An adapter whose configuration does not fit its weights."""
    config = write(lora(1, r=9), base, directory) / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | fields), encoding="utf-8")
    return directory


def test_the_base_is_unchanged_when_an_adapter_does_not_fit(
    sixteen: Family, engine: TransformersEngine, tmp_path: Path
) -> None:
    before = str(engine._model)
    for name, fields in {"targets": {"target_modules": ["k_proj", "act_fn"]}, "rank": {"r": 8}}.items():
        with pytest.raises(ModelError, match="does not fit"):
            add(engine, written(tmp_path / name, sixteen.base, **fields))
        assert str(engine._model) == before


def test_adapters_that_do_not_fit_are_refused(sixteen: Family, engine: TransformersEngine, tmp_path: Path) -> None:
    first = add(engine, sixteen.adapters[0])
    for number, (config, words) in enumerate(
        [
            (lora(1, bias="all"), "replaces biases"),
            (lora(1, init_lora_weights="olora"), "takes its start out"),
            (IA3, "kinds IA3 and LORA"),
        ]
    ):
        with pytest.raises(CannotShare, match=words):
            add(engine, write(config, sixteen.base, tmp_path / f"{number}"))
    whole = lora(2, modules_to_save=["q_proj"], target_modules=["v_proj"])
    with pytest.raises(CannotShare, match="beside those"):
        add(engine, write(whole, sixteen.base, tmp_path / "whole"))
    with pytest.raises(CannotShare, match="beside those"):
        add(engine, written(tmp_path / "misfit", sixteen.base, target_modules=["k_proj", "act_fn"]))
    other = tiny_model(tmp_path / "other", seed=5)
    with pytest.raises(ModelError, match=f"is for '{other}'"):
        add(engine, write(lora(1), other, tmp_path / "foreign"))
    with pytest.raises(ModelError, match="does not fit"):
        add(engine, written(tmp_path / "damaged", sixteen.base, r=8))
    with pytest.raises(UnknownName, match="nobody"):
        engine.remove_adapter("nobody")
    assert engine.adapters == (first,)
    tokens, _ = collect(engine, [asked(sixteen.prompts[1], name) for name in (first, None)])
    assert tokens == [sixteen.expected[sixteen.adapters[0]][1], sixteen.expected[None][1]]


def test_a_second_adapter_is_held_to_its_file_as_the_first_is(
    sixteen: Family, engine: TransformersEngine, tmp_path: Path
) -> None:
    """PEFT leaves a tensor without a place out, and one that is missing as it was made, without an error."""
    add(engine, sixteen.adapters[0])
    layer = "base_model.model.model.layers.{}.self_attn.q_proj.lora_A.weight"
    rows = engine._model.get_input_embeddings().weight.shape[0]
    table = {"base_model.model.model.embed_tokens.weight": torch.zeros(rows + 2, 16)}
    for number, (change, refusal, words) in enumerate(
        [
            (lambda held: held | {layer.format(7): torch.zeros(2, 16)}, ModelError, "layers.7.*without a place in it"),
            (lambda held: {key: held[key] for key in sorted(held)[1:]}, ModelError, "is missing from adapter_model"),
            (lambda held: held | table, CannotShare, "needs a base of its own"),
        ]
    ):
        path = write(lora(0), sixteen.base, tmp_path / f"{number}")
        held = load_file(path / "adapter_model.safetensors")
        save_file(change(held), path / "adapter_model.safetensors")
        with pytest.raises(refusal, match=words):
            add(engine, path)
    assert len(engine.adapters) == 1


def test_adapters_are_loaded_and_unloaded_during_answers(sixteen: Family, engine: TransformersEngine) -> None:
    one, two, three = sixteen.adapters[:3]
    first = add(engine, one)
    bare = weight_bytes(engine)
    long = Sampling(max_new_tokens=200)
    running = engine.stream([Request(sixteen.prompts[0], long, name) for name in (first, None)])
    began: list[list[int]] = [[], []]
    while min(map(len, began)) < 3:
        event = next(running)
        began[event.index].append(event.token or 0)
    second = add(engine, two)
    assert collect(engine, [asked(sixteen.prompts[1], second)])[0] == [sixteen.expected[two][1]]
    engine.remove_adapter(first)
    with pytest.raises(UnknownName, match=first):
        engine.stream([asked(sixteen.prompts[0], first)])
    engine.remove_adapter(second)
    third = add(engine, three)
    assert len({first, second, third}) == 3
    assert collect(engine, [asked(sixteen.prompts[1], third)])[0] == [sixteen.expected[three][1]]
    for event in running:
        if event.token is not None:
            began[event.index].append(event.token)
    assert [len(tokens) for tokens in began] == [200, 200]
    assert [tokens[:TOKENS] for tokens in began] == [sixteen.expected[one][0], sixteen.expected[None][0]]
    engine.remove_adapter(third)
    assert collect(engine, [asked(sixteen.prompts[1], None)])[0] == [sixteen.expected[None][1]]
    assert weight_bytes(engine) == bare - adapter_bytes(one)


@dataclass
class Mixed:
    """Four slots, and adapters that do and that do not share a batch."""

    engine: TransformersEngine
    names: list[str | None]
    expected: list[list[list[int]]]


@pytest.fixture(scope="module")
def mixed(sixteen: Family, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    engine = opened(sixteen.base, slots=4)
    dora = tuned(lora(1, use_dora=True), base_model(sixteen.base))
    directory = tmp_path_factory.mktemp("dora")
    dora.save_pretrained(directory)
    chosen = [*sixteen.adapters[::4], directory]
    names = [None, *(add(engine, each) for each in chosen)]
    expected = {**sixteen.expected, directory: generated_alone(dora, sixteen.prompts)}
    yield Mixed(engine, names, [expected[each] for each in (None, *chosen)])
    engine.close()


REQUESTS = st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(1, TOKENS))
"""Adapter, prompt and length."""


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(REQUESTS, min_size=1, max_size=6), min_size=1, max_size=4), st.integers(0, 3))
def test_batching_changes_no_answer(
    sixteen: Family, mixed: Mixed, waves: list[list[tuple[int, int, int]]], cancelled: int
) -> None:
    requests = [[asked(sixteen.prompts[prompt], mixed.names[a], count) for a, prompt, count in wave] for wave in waves]
    streams = [mixed.engine.stream(wave) for wave in requests]
    if cancelled < len(streams):
        streams[cancelled].cancel(0)
    for number, (stream, wave) in enumerate(zip(streams, waves, strict=True)):
        tokens: list[list[int]] = [[] for _ in wave]
        for event in stream:
            if event.token is not None:
                tokens[event.index].append(event.token)
        for index, ((adapter, prompt, count), answer) in enumerate(zip(wave, tokens, strict=True)):
            wanted = mixed.expected[adapter][prompt][:count]
            assert answer == (wanted[: len(answer)] if (number, index) == (cancelled, 0) else wanted)
