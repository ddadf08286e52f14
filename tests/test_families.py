"""Every family of models, tiny and random: what its adapter says is verified holds, and what it refuses is refused.

The rows of `TINY` are built from Transformers' own configurations, made small as a rehearsal makes them. Local
attention reaches 8 tokens, so that every row is longer. GGUF and GPTQ are tried by their plugins' own tests.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import camelid_core.models.loading as loading
import pytest
from camelid_core.builtin.families import FAMILIES
from camelid_core.errors import ConfigError, ModelError
from camelid_core.models.adapters import adapter_for
from camelid_core.models.capabilities import CAPABILITIES, families
from camelid_core.models.resolved_model import ResolvedModel, resolve_model
from camelid_core.models.rope import ROPE_TYPES, RopeScaling
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.testing import assert_adapter_contract, isolated_home, tiny_tokenizer, write_jsonl
from camelid_core.tokenization.encoder import IGNORE, Example
from camelid_train.testing import Attempt, attempts, small_recipe

ROOT = Path(__file__).parents[1]
Tiny = Callable[[str], ResolvedModel]
_LOCAL = {"sliding_window": 8}
_EYES = {"image_size": 28, "patch_size": 14, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 64}
_LLAMA_4_EYES = {**_EYES, "vision_output_dim": 64, "projector_input_dim": 64, "projector_output_dim": 64}

TINY: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", {}),
    "smollm3": ("smollm3", {}),
    "mistral": ("mistral", _LOCAL),
    "gemma": ("gemma", {}),
    "gemma2": ("gemma2", _LOCAL),
    "gemma3 text": ("gemma3_text", _LOCAL),
    "gemma3": ("gemma3", {"text_config": _LOCAL, "vision_config": _EYES, "image_token_index": 7}),
    "qwen2": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1, **_LOCAL}),
    "qwen3": ("qwen3", {}),
    "phi": ("phi", {}),
    "phi3": ("phi3", _LOCAL),
    "stablelm": ("stablelm", {}),
    "olmo": ("olmo", {}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", _LOCAL),
    "granite": ("granite", {}),
    "cohere": ("cohere", {"logit_scale": 0.5}),
    "cohere2": ("cohere2", {"logit_scale": 0.5, **_LOCAL}),
    "starcoder2": ("starcoder2", _LOCAL),
    "glm": ("glm", {}),
    "glm4": ("glm4", {}),
    "llama4 text": ("llama4_text", {"attention_chunk_size": 8}),
    "llama4": (
        "llama4", {"text_config": {"attention_chunk_size": 8}, "vision_config": _LLAMA_4_EYES, "image_token_index": 7},
    ),
    "mixtral": ("mixtral", _LOCAL),
    "qwen2 moe": ("qwen2_moe", {}),
    "qwen3 moe": ("qwen3_moe", {}),
    "phi moe": ("phimoe", _LOCAL),
    "olmoe": ("olmoe", {}),
    "granite moe": ("granitemoe", {}),
    "granite moe shared": ("granitemoeshared", {"shared_intermediate_size": 64}),
    "deepseek 2": ("deepseek_v2", {"num_experts_per_tok": 2, "topk_method": "greedy", "moe_intermediate_size": 64}),
    "deepseek 2 lite": (
        "deepseek_v2",
        {"num_experts_per_tok": 2, "topk_method": "greedy", "moe_intermediate_size": 64, "q_lora_rank": None},
    ),
    "deepseek 3": ("deepseek_v3", {}),
    "glm4 moe": ("glm4_moe", {}),
    "gpt-oss": ("gpt_oss", _LOCAL),
    "bloom": ("bloom", {}),
    "mpt": ("mpt", {}),
    "falcon 7b": ("falcon", {}),
    "falcon 40b": ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon rw": ("falcon", {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True}),
    "gpt-neox": ("gpt_neox", {}),
    "gpt-neox in sequence": ("gpt_neox", {"use_parallel_residual": False}),
    "gpt-neo": ("gpt_neo", {"window_size": 8}),
    "gpt-j": ("gptj", {}),
    "codegen": ("codegen", {}),
    "gpt-2": ("gpt2", {}),
    "gpt-bigcode": ("gpt_bigcode", {}),
    "opt": ("opt", {}),
    "opt 350m": ("opt", {"word_embed_proj_dim": 32, "do_layer_norm_before": False}),
}  # fmt: skip
"""A name, the type, and what its configuration says beside small sizes."""

NO_ROTARY_POSITIONS = ("falcon rw",)
"""Rows whose configuration turns off what the family otherwise has."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolated_home(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny random model by its name in the table, made once: norms and biases are no ones and zeros."""
    root, tokenizer = tmp_path_factory.mktemp("families"), tiny_tokenizer()

    @cache
    def make(name: str) -> ResolvedModel:
        directory = root / name.replace(" ", "-")
        write_tiny_model(directory, *TINY[name], tokenizer)
        return resolve_model(str(directory), load_host())

    return make


def write_tiny_model(directory: Path, model_type: str, values: Mapping[str, Any], tokenizer: Any) -> None:
    import torch
    from camelid_train.planning.tiny_model import tiny_config
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    tokens = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    small = tiny_config(AutoConfig.for_model(model_type).to_dict())
    sees = "text_config" in small
    for section, changes in values.items():
        small[section] = small[section] | changes if isinstance(changes, Mapping) else changes
    text = small["text_config"] if sees else small
    text |= {"vocab_size": len(tokenizer), **tokens}
    config = type(AutoConfig.for_model(model_type)).from_dict(small | tokens)
    torch.manual_seed(0)
    model = (AutoModelForImageTextToText if sees else AutoModelForCausalLM).from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_((0.1 if parameter.ndim == 1 else 0.05) * torch.randn_like(parameter))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("data") / "rows.jsonl", [
        {"instruction": f"Add {a} and {a}." + " Please." * (a % 4), "output": "The answer is " + "!" * (a % 3) + "7."}
        for a in range(10)
    ])  # fmt: skip


@pytest.fixture
def attempt(home: Path) -> Iterator[Callable[..., Attempt]]:
    yield from attempts(home)


@pytest.fixture(autouse=True)
def seeded() -> None:
    import torch

    torch.manual_seed(0)


def test_the_table_has_every_type_whose_family_says_that_it_was_tried_here() -> None:
    here = f"tests/{Path(__file__).name}::"
    tried = [each for each in load_host().adapters if any(test.startswith(here) for test in each.verified.values())]
    assert {each.name for each in FAMILIES} <= {each.name for each in tried}
    assert {kind for kind, _ in TINY.values()} == {kind for each in tried for kind in each.model_types}


def test_every_capability_of_our_families_is_verified_or_refused_with_a_sentence() -> None:
    for adapter in FAMILIES:
        assert set(adapter.verified) | set(adapter.refusals) == set(CAPABILITIES), adapter.name
        assert not set(adapter.verified) & set(adapter.refusals), adapter.name
        for sentence in (*adapter.refusals.values(), *adapter.notes):
            assert re.fullmatch(r"[A-Z].*\.", sentence), sentence


def test_every_test_that_verifies_something_exists() -> None:
    named = {test for each in families(load_host()) for support in each.capabilities.values() for test in support.tests}
    for test in named:
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), test
    assert len(named) > 3


@pytest.mark.parametrize("name", TINY)
def test_a_family_is_trained_merged_and_asked(
    tiny: Tiny, rows: Path, attempt: Callable[..., Attempt], name: str
) -> None:
    """LoRA on the family's own targets learns; merged, plain Transformers computes the same logits; the engine, chat
    and batch predict answer with the adapter what plain `generate` answers with the merged model."""
    import torch
    from camelid_train.export.merge import merge
    from camelid_train.export.merge_config import MergeConfig
    from camelid_train.methods.targets import linear_names
    from camelid_train.run import train
    from transformers import AutoModelForCausalLM

    resolved = tiny(name)
    run = attempt(job=1)
    short = ("eval.samples=0", "train.max_steps=3", "data.eval_rows=2", "train.batch_size=4", "train.preflight=false")
    train(small_recipe(resolved.base, rows, (*short, "train.learning_rate=0.03")), run)
    assert run.losses[-1] < run.losses[0] - 0.02
    adapter = resolve_model(str(run.output), load_host())
    merged = attempt(job=2)
    merge(MergeConfig(adapter=str(run.output)), merged)
    plain = AutoModelForCausalLM.from_pretrained(merged.output, dtype=torch.float32).eval()
    tuned = loading.load_with_adapter(adapter, "float32")
    ids = torch.randint(3, 400, (2, 24), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        difference = plain(input_ids=ids).logits - tuned(input_ids=ids).logits
    assert float(difference.abs().max()) < 1e-4
    assert not adapted_outside(tuned, resolved.adapter.no_lora)
    assert_adapter_contract(resolved.adapter, load_host().templates.names(), linear_names(plain))
    answered_as_by_generate(adapter, plain, rows, attempt(job=3))


def adapted_outside(model: Any, parts: Sequence[str]) -> list[str]:
    """Adapters on what takes none."""
    return [name for name, _ in model.named_parameters() if "lora_" in name and set(parts) & set(name.split("."))]


def answered_as_by_generate(adapter: ResolvedModel, plain: Any, rows: Path, job: Attempt) -> None:
    from camelid_serve.config import EngineConfig, PredictConfig
    from camelid_serve.engine import Request, Sampling
    from camelid_serve.generation import generate
    from camelid_serve.loaded_models import load_model
    from camelid_serve.predict.inputs import PREDICTIONS
    from camelid_serve.predict.task import run
    from camelid_serve.testing import collect, prompts

    loaded = load_model(adapter.name, load_host(), EngineConfig(slots=3, dtype="float32"))
    try:
        asked = [Request(ids, Sampling(max_new_tokens=3 + n), loaded.adapter) for n, ids in enumerate(prompts(5))]
        tokens, _ = collect(loaded.engine, asked)
        assert tokens == [generated(plain, each.ids, each.sampling.max_new_tokens) for each in asked]
        sampling = Sampling(temperature=0, max_new_tokens=5)
        question = loaded.prompt_ids([Message("user", "Add 1 and 1. Please.")])
        deltas = list(generate(loaded, [question], sampling))
        wanted = generated(plain, question, 5)
        stop = next((place for place, token in enumerate(wanted) if token in loaded.stops), 5)
    finally:
        loaded.close()
    assert [token for delta in deltas for token in delta.ids] == wanted[:stop]
    answer = "".join(delta.text for delta in deltas)
    run(PredictConfig(model=adapter.name, input=str(rows), sampling=sampling, limit=3, dtype="float32"), job)
    lines = (job.output / PREDICTIONS).read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1])["generate"].strip() == answer.strip()


def generated(model: Any, ids: Sequence[int], count: int) -> list[int]:
    import torch

    given = torch.tensor([ids])
    with torch.inference_mode():
        output = model.generate(
            given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=count, eos_token_id=None,
            pad_token_id=0,
        )  # fmt: skip
    return [int(token) for token in output[0, len(ids) :]]


@pytest.mark.parametrize("name", TINY)
def test_rows_of_a_batch_cost_what_each_costs_alone(tiny: Tiny, name: str) -> None:
    """Padded on the right without a mask, and packed where the family says so: the loss that Transformers has for each
    row alone, and for the batch with its mask."""
    import torch
    from camelid_train.loop import acceleration, packing
    from camelid_train.loop.batches import Collator
    from camelid_train.loop.loss import label_loss

    resolved = tiny(name)
    model, pad = loading.load_base(resolved, "float32").eval(), loading.load_tokenizer(resolved).pad_token_id
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randint(3, 400, (length,), generator=generator).tolist() for length in (40, 23, 9)]
    examples = [Example(ids, [IGNORE] * (len(ids) // 2) + ids[len(ids) // 2 :]) for ids in drawn]
    batch = Collator(pad)(examples)
    lengths = packing.row_lengths(**batch, pad_id=pad)
    with torch.no_grad():
        alone = sum(plain_loss(model, torch.tensor([each.input_ids]), torch.tensor([each.labels])) for each in examples)
        mask = (torch.arange(40)[None] < lengths[:, None]).long()
        masked = plain_loss(model, **batch, attention_mask=mask)
        ours = float(label_loss(model, **batch))
        acceleration.use_fast_attention(model)
        packed = float(label_loss(model, **packing.pack_rows(**batch, lengths=lengths)))
    assert masked == pytest.approx(alone, rel=1e-5)
    assert ours == pytest.approx(alone, rel=1e-5)
    refusal = resolved.adapter.refusals.get("packing", "")
    assert (packed == pytest.approx(alone, rel=1e-5)) == (not refusal)
    if not refusal:
        assert packing.is_packing_exact(model)
        return
    assert not acceleration.should_pack("auto", model, refusal)
    with pytest.raises(ConfigError, match=re.escape(refusal)):
        acceleration.should_pack("on", model, refusal)


def plain_loss(model: Any, input_ids: Any, labels: Any, **options: Any) -> float:
    """The sum over all labels, of Transformers' own logits."""
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=input_ids, use_cache=False, **options).logits[:, :-1].float()
    return float(cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"))


@pytest.mark.parametrize("name", TINY)
def test_a_step_keeps_as_many_numbers_as_the_family_says(tiny: Tiny, name: str) -> None:
    """What autograd keeps for the backward pass of LoRA, within a third: the estimate before a run is made of it."""
    import torch
    from camelid_core.models.dimensions import dimensions
    from camelid_train.loop import acceleration
    from camelid_train.loop.loss import label_loss
    from camelid_train.methods.lora import LORA, LoraMethod
    from camelid_train.methods.tuning_method import MethodContext

    resolved, length = tiny(name), 96
    base = loading.load_base(resolved, "float32").train()
    base.enable_input_require_grads()  # of the first of two layers nothing less is kept than of the others
    model = LORA.prepare(base, LoraMethod(), MethodContext(resolved, "float32")).train()
    acceleration.use_fast_attention(model)
    ids = torch.randint(3, 400, (1, length), generator=torch.Generator().manual_seed(1))
    labels = torch.full_like(ids, IGNORE)
    labels[:, -1] = 5
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        label_loss(model, ids, labels)
    numbers = sum(storage.nbytes() for storage in kept.values()) / 4 / length
    said = resolved.adapter.activations.per_token(dimensions(resolved.config), length)
    assert 0.75 < said / numbers < 1.35


@pytest.mark.parametrize("name", TINY)
def test_qlora_learns_on_a_quantised_base_or_is_refused(tiny: Tiny, name: str) -> None:
    import torch
    from camelid_train.methods.qlora import QLORA, QloraMethod, library_warnings_off
    from camelid_train.methods.tuning_method import MethodContext

    resolved, section = tiny(name), QloraMethod()
    if refusal := resolved.adapter.refusals.get("qlora"):
        with pytest.raises(ModelError, match=re.escape(refusal)):
            QLORA.load(resolved, "float32", section)
        return
    with library_warnings_off():
        model = QLORA.prepare(QLORA.load(resolved, "float32", section), section, MethodContext(resolved, "float32"))
        model(input_ids=torch.arange(5, 25)[None], use_cache=False).logits.float().logsumexp(-1).sum().backward()
    adapted = [module for module in model.modules() if hasattr(module, "lora_B")]
    assert adapted
    for module in adapted:
        assert type(module.get_base_layer()).__name__ == "Linear4bit"
        assert module.lora_B["default"].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", TINY)
def test_positions_are_scaled_or_that_is_refused(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """Of 32 trained positions: each kind of scaling is computed, and changes what is computed beyond them."""
    import torch

    resolved = tiny(name)
    refusal = resolved.adapter.refusals.get("long-context", "")
    if refusal or name in NO_ROTARY_POSITIONS:
        with pytest.raises(ModelError, match=re.escape(refusal.removesuffix(".") or "has no rotary positions")):
            loading.with_rope_scaling(resolved, RopeScaling("linear", 4.0))
        return
    directory = shutil.copytree(resolved.base, tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    for part in (config, *filter(None, [config.get("text_config")])):
        part["max_position_embeddings"] = 32
    (directory / "config.json").write_text(json.dumps(config))
    short = resolve_model(str(directory), load_host())
    ids = torch.randint(3, 400, (1, 60), generator=torch.Generator().manual_seed(3))

    def logits(model: ResolvedModel) -> Any:
        with torch.no_grad():
            return loading.load_base(model, "float32").eval()(input_ids=ids, use_cache=False).logits[0, 32:]

    plain = logits(short)
    for kind in ROPE_TYPES:
        scaled = logits(loading.with_rope_scaling(short, RopeScaling(kind, 4.0)))
        assert scaled.isfinite().all()
        assert float((scaled - plain).abs().max()) > 1e-3 * float(plain.std()), kind


@pytest.mark.parametrize("name", ["gpt-2", "gpt-j", "opt"])
def test_rows_beyond_a_table_of_positions_are_refused_before_weights_are_loaded(
    tiny: Tiny, rows: Path, tmp_path: Path, name: str
) -> None:
    from camelid_train.planning.plan import plan

    directory = shutil.copytree(tiny(name).base, tmp_path / "model")
    config = json.loads((directory / "config.json").read_text())
    key = next(each for each in ("n_positions", "max_position_embeddings") if each in config)
    (directory / "config.json").write_text(json.dumps(config | {key: 16}))
    recipe = small_recipe(directory, rows)
    with pytest.raises(ConfigError, match=r"has a table of 16 positions .* Set data\.cutoff=16"):
        plan(recipe)
    (directory / "config.json").write_text(json.dumps(config | {key: 512}))
    assert plan(recipe)["longest row"] > 16


@pytest.mark.parametrize("name", ["mixtral", "llama4 text", "deepseek 3"])
def test_what_lora_leaves_out_of_a_mixture_of_experts_is_said(
    tiny: Tiny, rows: Path, attempt: Callable[..., Attempt], name: str
) -> None:
    from camelid_train.run import train

    short = ("eval.samples=0", "train.max_steps=1", "data.eval_rows=0", "train.preflight=false")
    run = attempt()
    train(small_recipe(tiny(name).base, rows, (*short, 'method.targets=["all-linear"]')), run)
    assert any("the routed experts (" in event["text"] for event in run.events("log"))
    tuned = loading.load_with_adapter(resolve_model(str(run.output), load_host()))
    assert adapted_outside(tuned, ["router", "gate", "experts"]) == []
    asked = {"deepseek 3": "up_proj"}.get(name, "gate_up_proj")
    why = {"deepseek 3": "takes no adapter in models of the family 'deepseek'"}.get(name, "is one parameter for all")
    with pytest.raises(ModelError, match=f"{asked!r} {why}"):
        train(small_recipe(tiny(name).base, rows, (*short, f'method.targets=["{asked}"]')), attempt(job=2))


def test_an_export_that_would_quantise_nothing_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from camelid_train.export.bitsandbytes import BITSANDBYTES, BitsandbytesSection

    context: Any = SimpleNamespace(output=tmp_path / "out", progress=lambda *_: None)
    with pytest.raises(ModelError, match="quantises none of the layers"):
        BITSANDBYTES.export(tiny("falcon 7b"), BitsandbytesSection(), context)
    assert not context.output.exists()


def test_a_balance_loss_that_a_configuration_asks_for_is_said_to_be_left_out(tiny: Tiny) -> None:
    from camelid_train.methods.expert_notes import expert_notes
    from camelid_train.methods.lora import LoraMethod

    model = loading.load_base(tiny("mixtral"), "float32")
    assert list(expert_notes(model, LoraMethod())) == []
    model.config.output_router_logits = True
    assert [note for note in expert_notes(model, LoraMethod()) if "output_router_logits" in note]


def test_a_family_is_known_by_each_of_its_types() -> None:
    for adapter in FAMILIES:
        for kind in adapter.model_types:
            assert adapter_for(kind, load_host().adapters) is adapter
