"""ChatGLM2 and ChatGLM3 as GLM: converted weights compute what the original formulas do; ids and prompts are theirs."""

from __future__ import annotations

import json

import pytest
import torch
from camelid_core.errors import ModelError
from camelid_core.models.conversion import convert_checkpoint
from camelid_core.models.loading import load_base
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_core.records import Message
from camelid_core.tokenization.encoder import IGNORE, Encoder
from transformers import AutoTokenizer

from .originals import DATA, make_glm, original_weights
from .reference_glm import logits_of

GOLDEN = json.loads((DATA / "golden.json").read_text(encoding="utf-8"))["chatglm3"]
TURNS = (
    Message("user", "你好"),
    Message("assistant", "Hello world"),
    Message("user", "几号？"),
    Message("assistant", "5."),
)


@pytest.mark.parametrize(
    ("roles", "changes", "places"),
    [
        (True, {}, False),
        (False, {}, False),
        (True, {"add_qkv_bias": True, "rope_ratio": 50}, False),
        (False, {"rope_ratio": 4}, True),
    ],
    ids=["3", "2", "3-32k", "2-32k"],
)
def test_logits_are_those_of_the_original_formulas(convert, tmp_path, roles, changes, places):
    source = make_glm(tmp_path / "original", roles, **changes)
    output = convert(source, tmp_path / "converted")
    model = load_base(resolve_model(str(output), load_host()), "float32").eval()
    config = json.loads((source / "config.json").read_text()) | {"divides_places": places}
    row = [*range(200, 260), 5, 5, 5]
    with torch.no_grad():
        found = model(torch.tensor([row])).logits[0]
    assert (found - logits_of(original_weights(source), row, config)).abs().max() < 1e-5


@pytest.fixture(scope="module", params=[True, False], ids=["3", "2"])
def roles(request):
    return request.param


@pytest.fixture(scope="module")
def converted(convert, tmp_path_factory, roles):
    folder = tmp_path_factory.mktemp("glm")
    return convert(make_glm(folder / "original", roles), folder / "converted")


@pytest.fixture(scope="module")
def tokenizer(converted):
    return AutoTokenizer.from_pretrained(converted)


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_ids_are_those_of_the_original(tokenizer, roles):
    for text, ids in GOLDEN:
        assert ids_of(tokenizer, text) == ids, text
        assert tokenizer.decode(ids) == text
    size = max(number for _, ids in GOLDEN for number in ids) + 1
    names = ["[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"]
    names += ["<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"] if roles else []
    found = tokenizer.convert_tokens_to_ids(names)
    assert found == list(range(found[0], found[0] + len(names)))
    assert found[0] >= size
    assert tokenizer("你好")["input_ids"] == [found[1], found[3], *ids_of(tokenizer, "你好")]
    assert found[3] not in ids_of(tokenizer, "philosophy of a soprano")


def test_prompts_and_answers_are_divided_as_in_the_original(tokenizer, roles):
    """ChatGLM3's `build_single_message`: a role's token, then the newline and the message, each encoded by itself."""
    encoder = Encoder(tokenizer, load_host().templates["chatglm-3" if roles else "chatglm-2"])
    gmask, sop, eos = tokenizer.convert_tokens_to_ids(["[gMASK]", "sop", "</s>"])

    def said(role, text):
        return [tokenizer.convert_tokens_to_ids(f"<|{role}|>"), *ids_of(tokenizer, "\n"), *ids_of(tokenizer, text)]

    if roles:
        prompt = [gmask, sop, *said("user", "你好"), *said("assistant", "Hello world"), *said("user", "几号？")]
        prompt, answer = [*prompt, *said("assistant", "")[:1]], said("assistant", "5.")[1:]
    else:
        text = "[Round 1]\n\n问：你好\n\n答：Hello world\n\n[Round 2]\n\n问：几号？\n\n答："
        prompt, answer = [gmask, sop, *ids_of(tokenizer, text)], None
    assert encoder.prompt_ids(TURNS[:-1]) == prompt
    example = encoder.example(TURNS)
    assert example.input_ids[: len(prompt)] == prompt
    assert example.labels[len(prompt)] != IGNORE
    assert example.input_ids[-1] == eos
    if answer:
        assert example.input_ids[len(prompt) :] == [*answer, eos]


def test_plain_transformers_renders_the_same_prompt_and_stops_where_a_turn_ends(tokenizer, converted, roles):
    encoder = Encoder(tokenizer, load_host().templates["chatglm-3" if roles else "chatglm-2"])
    messages = [{"role": each.role, "content": each.content} for each in TURNS[:-1]]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert ids == encoder.prompt_ids(TURNS[:-1])
    resolved = resolve_model(str(converted), load_host())
    assert resolved.template == encoder.template.name
    ends = [tokenizer.eos_token, *(["<|user|>", "<|observation|>"] if roles else [])]
    assert resolved.config["eos_token_id"] == tokenizer.convert_tokens_to_ids(ends)


def test_chatglm_3_is_known_without_its_code(tmp_path):
    """What is pulled has no Python files: its configuration says what it is called."""
    source = make_glm(tmp_path / "original", _name_or_path="THUDM/chatglm3-6b")
    (source / "tokenization_chatglm.py").unlink()
    convert_checkpoint(source, tmp_path / "out", load_host(), lambda _: None, lambda *_: None)
    assert resolve_model(str(tmp_path / "out"), load_host()).template == "chatglm-3"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer("<|user|>", add_special_tokens=False)["input_ids"]) == 1


def test_a_base_model_gets_no_template(tmp_path):
    source, said = make_glm(tmp_path / "original", _name_or_path="THUDM/chatglm3-6b-base"), []
    convert_checkpoint(source, tmp_path / "out", load_host(), said.append, lambda *_: None)
    assert any("calls it a base model" in note for note in said)
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"quantization_bit": 4}, "quantization_bit is 4"),
        ({"pre_seq_len": 128}, "a learned prefix"),
        ({"rmsnorm": False}, "rmsnorm is False"),
        ({"multi_query_attention": False}, "multi_query_attention is False"),
        ({"num_layers": 3}, "lacks the tensor 'transformer.encoder.layers.2"),
        ({"num_layers": 1}, "holds the tensor 'transformer.encoder.layers.1"),
        ({"ffn_hidden_size": 63}, "mlp.dense_h_to_4h.weight' has the shape"),
        ({"padded_vocab_size": 20}, "has the shape"),
        ({"hidden_size": "wide"}, "hidden_size 'wide'"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_leaves_nothing(tmp_path, changes, sentence):
    source = make_glm(tmp_path / "original")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ModelError, match=sentence.replace("'", ".").replace("[", ".")):
        convert_checkpoint(source, tmp_path / "out", load_host(), lambda _: None, lambda *_: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original"]
