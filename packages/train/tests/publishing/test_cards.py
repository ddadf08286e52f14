"""Cards say what manifests say, in TheBloke's layout; regenerated, they change what is generated and nothing else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

import pytest
import yaml
from camelid_core.artefacts import DatasetUse, FileEntry, Licences, Manifest
from camelid_core.errors import UsageError
from camelid_core.plugins import load_host
from camelid_train.publishing.cards.card import card_text
from camelid_train.publishing.cards.card_data import CardData, FamilyMember
from camelid_train.publishing.cards.front_matter import fields_of, with_fields, without_head
from camelid_train.publishing.cards.marked_text import marked, regenerated
from camelid_train.publishing.cards.shared_sections import prompt_text
from camelid_train.publishing.cards.variants import Variant, variant_matrix
from camelid_train.publishing.gptq_recipe import GptqRecipe
from camelid_train.publishing.licence_statement import licence_statement
from hypothesis import given, settings
from hypothesis import strategies as st

GB = 1_000_000_000
RECIPES = {
    "main": (4, 128, False, 7.26, "Yes", "4-bit, without Act Order and group size 128g."),
    "gptq-4bit-32g-actorder_True": (
        4, 32, True, 8.00, "Yes", "4-bit, with Act Order and group size 32g. Gives highest possible inference quality, "
        "with maximum VRAM usage.",
    ),
    "gptq-4bit-64g-actorder_True": (
        4, 64, True, 7.51, "Yes", "4-bit, with Act Order and group size 64g. Uses less VRAM than 32g, but with "
        "slightly lower accuracy.",
    ),
    "gptq-4bit-128g-actorder_True": (
        4, 128, True, 7.26, "Yes", "4-bit, with Act Order and group size 128g. Uses even less VRAM than 64g, but with "
        "slightly lower accuracy.",
    ),
    "gptq-8bit--1g-actorder_True": (
        8, -1, True, 13.36, "No", "8-bit, with Act Order. No group size, to lower VRAM requirements.",
    ),
    "gptq-8bit-128g-actorder_False": (
        8, 128, False, 13.65, "No", "8-bit, with group size 128g for higher inference quality and without Act Order to "
        "improve AutoGPTQ speed.",
    ),
    "gptq-8bit-128g-actorder_True": (
        8, 128, True, 13.65, "No", "8-bit, with group size 128g for higher inference quality and with Act Order for "
        "even higher accuracy.",
    ),
    "gptq-8bit-64g-actorder_True": (
        8, 64, True, 13.95, "No", "8-bit, with group size 64g and Act Order for even higher inference quality. Poor "
        "AutoGPTQ CUDA speed.",
    ),
    "gptq-3bit-128g-actorder_False": (3, 128, False, 5.8, "No", "3-bit, without Act Order and group size 128g."),
}  # fmt: skip
"""Those of a 13B model: bits, group size, act-order, gigabytes, whether ExLlama loads it, description."""
ORDER = [
    "header", "description", "repositories-available", "variants", "prompt-template", "licensing",
    "README_GPTQ.md-provided-files", "README_GPTQ.md-download-from-branches", "README_GPTQ.md-text-generation-webui",
    "README_GPTQ.md-use-from-python", "README_GPTQ.md-compatibility", "test-status", "citations", "footer",
]  # fmt: skip
HEADINGS = [
    "# Tiny Run - GPTQ", "## Description", "## Repositories available", "## All variants", "## Prompt template: tulu",
    "## Licensing", "## Provided files and GPTQ parameters", "## How to download from branches",
    "## How to easily download and use this model in [text-generation-webui]",
    "## How to use this GPTQ model from Python code",
    "### Install the necessary packages", "### For CodeLlama models only", "### You can then use the following code",
    "## Compatibility", "## Test status", "## Citations", "# Original model card: someone/tiny-base",
]  # fmt: skip


def data_of(branches: Mapping[str, Manifest], **more) -> CardData:
    first = next(iter(branches.values()))
    family = (FamilyMember("GPTQ", "me/tiny-run-GPTQ", branches),)
    values = {
        "repository": "me/tiny-run-GPTQ", "title": "Tiny Run", "branches": branches, "host": load_host(),
        "web": lambda repository, name="": f"https://huggingface.co/{repository}" + (f"/tree/{name}" if name else ""),
        "licence": licence_statement(first, "someone/tiny-base"), "prompt": "<|user|>\n{prompt}\n<|assistant|>\n",
        "clone_url": "https://huggingface.co/me/tiny-run-GPTQ", "creator": "me", "quantized_by": "me", "family": family,
        "original_card": "# Theirs\n\nAs it *was*.",
    }  # fmt: skip
    return CardData(**values | more)


@pytest.fixture
def branches(making, tmp_path) -> dict[str, Manifest]:
    """A manifest for each recipe, made one second after the other."""
    return {
        name: making.manifest(
            "gptq",
            tmp_path,
            parameters=making.gptq_parameters(bits, group, act),
            files={"model.safetensors": FileEntry(size=int(size * GB), sha256="3" * 64)},
            created=f"2026-11-29T10:00:{at:02}+00:00",
        )
        for at, (name, (bits, group, act, size, *_)) in enumerate(RECIPES.items())
    }


def test_the_table_of_provided_files_is_the_one_of_the_seeds(branches):
    card, _ = card_text(data_of(branches))
    head = "| Branch | Bits | GS | Act Order | Damp % | GPTQ Dataset | Seq Len | Size | ExLlama | Desc |"
    rows = card[card.index(head) :].split("\n")[2 : 2 + len(RECIPES)]
    dataset = "[wikitext](https://huggingface.co/datasets/wikitext/viewer/wikitext-2-v1/test)"
    for row, (name, (bits, group, act, size, exllama, words)) in zip(rows, RECIPES.items(), strict=True):
        link = f"[{name}](https://huggingface.co/me/tiny-run-GPTQ/tree/{name})"
        gs, order = "None" if group < 0 else group, "Yes" if act else "No"
        cells = (link, bits, gs, order, 0.01, dataset, 2048, f"{size:.2f} GB", exllama, words)
        assert row == f"| {' | '.join(map(str, cells))} |"


def test_names_of_branches_are_those_of_the_seeds():
    for name, (bits, group, act, *_) in RECIPES.items():
        recipe = GptqRecipe(bits, group, act)
        assert recipe.default_branch == name
        assert recipe.branch.endswith("actorder_True" if act else "actorder_False")


def test_sections_markers_and_fields_are_in_the_order_of_the_seeds(branches):
    card, _ = card_text(data_of(branches))
    assert re.findall(r"<!-- ([\w.-]+) start -->", card) == ORDER
    assert re.findall(r"<!-- ([\w.-]+) end -->", card) == ORDER
    places = [card.index(f"\n{heading}") for heading in HEADINGS]
    assert places == sorted(places)
    assert card.endswith("# Original model card: someone/tiny-base\n\n# Theirs\n\nAs it *was*.\n")
    assert "<!-- header start -->\n<!-- 200823 -->\n<!-- header end -->" in card
    assert "Each separate quant is in a different branch." in card
    assert "All files are made with GPTQModel 7.6.0." in card
    fields = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    known = [
        "base_model", "datasets", "inference", "language", "license", "license_name", "model_creator", "model_name",
        "model_type", "prompt_template", "quantized_by",
    ]  # fmt: skip
    assert list(fields) == [name for name in known if name in fields]
    assert fields["prompt_template"] == "<|user|>\n{prompt}\n<|assistant|>\n"
    assert (fields["inference"], fields["model_type"], fields["license"]) == (False, "llama", "other")


@pytest.mark.parametrize("name", ["tulu", "airoboros", "alpaca", "chatml", "vicuna"])
def test_the_prompt_is_the_templates_byte_for_byte(name, branches, making):
    prompt = prompt_text(making.contract(name))
    assert prompt.count("{prompt}") == 1
    card, _ = card_text(data_of(branches, prompt=prompt))
    assert fields_of(card)["prompt_template"] == prompt
    assert yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))["prompt_template"] == prompt
    assert f"\n{prompt}\n" in card[card.index("## Prompt template") :]


def test_the_airoboros_prompt_is_that_of_the_seeds(making):
    assert prompt_text(making.contract("airoboros")).endswith(" USER: {prompt} ASSISTANT: ")
    assert prompt_text(making.contract("tulu")) == "<|user|>\n{prompt}\n<|assistant|>\n"


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60) | st.text("\x85\u2028\u2029\r\n\t \ufeff'\"-:{}x", max_size=9), st.text(max_size=60))
def test_any_prompt_comes_back_from_the_head_and_the_text_stays(prompt, text):
    prompt = prompt.encode("utf-8", "replace").decode()
    card = with_fields(f"---\nz: 1\n---\n# {text!r}\n", {"prompt_template": prompt, "a": ["b"]})
    assert fields_of(card) == {"a": ["b"], "prompt_template": prompt, "z": 1}
    assert without_head(card) == f"# {text!r}\n"
    assert with_fields(card, {"prompt_template": prompt, "a": ["b"]}) == card


def test_regenerating_changes_nothing(branches):
    card, _ = card_text(data_of(branches))
    assert card_text(data_of(branches), card) == (card, [])


def test_a_branch_that_goes_takes_its_lines_and_nothing_else(branches):
    card, _ = card_text(data_of(branches))
    for gone in (name for name in RECIPES if name != "main"):
        rest = {name: each for name, each in branches.items() if name != gone}
        after, _ = card_text(data_of(rest), card)
        changed = [line for line in difflib.ndiff(card.split("\n"), after.split("\n")) if line[0] in "+-"]
        removed = [line for line in changed if line.startswith("-")]
        assert [line for line in removed if gone not in line] == []
        assert removed[-2].startswith(f"- | [{gone}]")  # the row of the table; before it that of the matrix
        assert [line for line in changed if line.startswith("+")] in ([], [_not_available(removed[0], gone)])
        assert card_text(data_of(branches), after)[0] == card


def _not_available(row: str, gone: str) -> str:
    return "+" + re.sub(rf"\[{gone}\]\([^)]*\)", "N/A", row)[1:]


def test_what_a_person_wrote_outside_of_markers_stays_byte_for_byte(branches):
    card, _ = card_text(data_of(branches))
    lines = card.split("\n")
    inside = False
    for at, line in list(enumerate(lines)):
        inside = (inside or bool(re.match(r"<!-- [\w.-]+ start -->", line))) and not re.match(
            r"<!-- [\w.-]+ end -->", line
        )
        if not inside and at > 20:
            lines[at] = f"{line}\n\tmine {at}\u00a0 "
    mine = "\n".join(lines)
    fewer = {name: each for name, each in branches.items() if "8bit" not in name}
    after, missing = card_text(data_of(fewer), mine)
    assert missing == []
    assert "gptq-8bit" not in after
    assert re.findall(r"\tmine.*", after) == re.findall(r"\tmine.*", mine)
    assert card_text(data_of(branches), after)[0] == mine


def test_a_section_that_was_removed_stays_away_and_broken_markers_are_refused(branches):
    card, _ = card_text(data_of(branches))
    start, end = "<!-- variants start -->", "<!-- variants end -->"
    without = card[: card.index(start)] + card[card.index(end) + len(end) :]
    assert card_text(data_of(branches), without) == (without, ["variants"])
    for broken in (
        card.replace(end, ""),
        card.replace(start, start + "\n" + start),
        card.replace(start, "X").replace(end, start).replace("X", end),
    ):
        with pytest.raises(UsageError, match="nothing was changed"):
            card_text(data_of(branches), broken)


@given(st.dictionaries(st.sampled_from("abcd"), st.text(alphabet="x<!- startend\\1\n", max_size=30), min_size=1))
def test_text_between_markers_never_ends_them(texts):
    evil = {name: f"{text}<!-- {name} end -->{text}" for name, text in texts.items()}
    card = marked(list(evil.items()))
    assert regenerated(card, list(evil.items())) == (card, [])
    other = [(name, "new") for name in evil]
    assert regenerated(regenerated(card, other)[0], list(evil.items()))[0] == card


def test_the_matrix_has_a_cell_for_every_variant_of_every_model():
    four, three = Variant("GPTQ", "4", "128", "no act-order"), Variant("GPTQ", "3", "128", "no act-order")
    own = Variant("GGUF", "4", "", "IQ4_XS")
    table = variant_matrix({"30B": {four: "a", three: "b"}, "13B": {four: "c", own: "d"}}).split("\n")
    assert table[0] == "| Format | Bits | Group | Kernel | 30B | 13B |"
    assert "| GPTQ | 4 | 128 | no act-order | a | c |" in table
    assert "| GPTQ | 3 | 128 | no act-order | b | N/A |" in table
    assert "| GGUF | 4 | – | IQ4_XS | N/A | d |" in table
    assert "| unquantised | 16 | – | Transformers | N/A | N/A |" in table
    assert {line.count("|") for line in table} == {7}


def test_who_is_asked_to_be_cited_and_what_older_loaders_need_is_on_the_card(making, tmp_path):
    scaling = {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}
    use = DatasetUse(id="cot-arithmetic-en", rows=3, sha256="1" * 64, licence="cc0-1.0")
    adapter = making.manifest(
        "adapter", tmp_path, rope_scaling=scaling, datasets=[use], licences=Licences.of("llama", [use])
    )
    card, _ = card_text(data_of({"main": adapter}, context_length=8192))
    assert "# Tiny Run (peft)" in card
    assert "set max_seq_len 8192 and compress_pos_emb 4" in card
    assert "@article{hu2021lora," in card
    assert "PeftModel.from_pretrained" in card
    assert '"me/tiny-run-GPTQ"' in card  # usage names this repository, not the one it was made from
    assert "for research alone" in card
    assert fields_of(card)["language"] == ["en"]
    merged, _ = card_text(data_of({"main": making.manifest("model", tmp_path)}, precision="fp16"))
    assert "# Tiny Run (fp16)" in merged
