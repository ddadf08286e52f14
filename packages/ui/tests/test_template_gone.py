"""An artefact whose template's plugin is gone: the Jinja in its manifest is used wherever a model's template is; and
where it cannot be, the message says which plugin to install."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import typer
from camelid_core.artefacts import BaseModelEntry, Manifest, read_artefact, write_manifest
from camelid_core.commands import datasets, templates
from camelid_core.errors import CamelidError
from camelid_core.models.loading import load_tokenizer
from camelid_core.models.resolved_model import resolve_model
from camelid_core.models.template_choice import base_template_of
from camelid_core.records import Message
from camelid_core.template_contract import make_contract
from camelid_core.testing import tiny_model
from camelid_core.token_cache.task import MeasureConfig
from camelid_core.token_cache.task import run as measure
from camelid_core.tokenization.encoder import Encoder
from camelid_serve.commands.common_options import check_names
from camelid_serve.config import EngineConfig, PredictConfig
from camelid_serve.engine_process.host import EngineHost
from camelid_serve.loaded_models import LoadedModels, load_encoder
from camelid_serve.predict.sequential_models import SequentialModels
from camelid_train.config import Recipe
from camelid_train.export.merge import merge
from camelid_train.export.merge_config import MergeConfig
from camelid_train.run_preparation import check, prepare_run
from camelid_train.testing import attempts

CONVERSATION = (Message("user", "How many?"), Message("assistant", "Two."))
PROMPT = CONVERSATION[:1]


class Gone:
    """`full`, a model, and `tuned`, an adapter on it, both trained with template `gone` of a plugin that is gone."""

    def __init__(self, services, home, questions, attempt) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        self.services, self.host, self.home, self.questions = services, services.host, home, questions
        self.attempt = attempt
        full, tuned = home / "artefacts" / "full", home / "artefacts" / "tuned"
        tiny_model(full)
        self.tokenizer = load_tokenizer(resolve_model(str(full), self.host))
        model = AutoModelForCausalLM.from_pretrained(full)
        lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(model, lora).save_pretrained(tuned)
        contract = make_contract(self.host.templates["vicuna"], self.tokenizer).model_copy(update={"name": "gone"})
        base = BaseModelEntry(id="full", path=str(full))
        plugins = {"camelid-core": "1", "camelid-gone": "2.0"}
        write_manifest(full, Manifest(kind="model", template=contract, plugins=plugins))
        write_manifest(tuned, Manifest(kind="adapter", base=base, template=contract, plugins=plugins))
        self.messages = home / "messages.json"
        self.messages.write_text(json.dumps([{"role": each.role, "content": each.content} for each in CONVERSATION]))

    def without_jinja(self, jinja: str) -> None:
        for name in ("full", "tuned"):
            directory = self.home / "artefacts" / name
            manifest = read_artefact(directory).manifest
            contract = manifest.template.model_copy(update={"jinja": jinja})
            write_manifest(directory, manifest.model_copy(update={"template": contract}))

    @property
    def ids(self) -> list[int]:
        return Encoder(self.tokenizer, self.host.templates["vicuna"]).prompt_ids(PROMPT)

    def resolve(self, name: str = "tuned"):
        return resolve_model(name, self.host)

    def recipe(self, **data) -> Recipe:
        sources = [str(self.questions)]
        return Recipe.model_validate({"model": {"name": "full"}, "data": {"sources": sources, "eval_rows": 0, **data}})


def chat(gone):
    check_names(["tuned"], EngineConfig())
    return load_encoder(gone.resolve(), gone.host, "").prompt_ids(PROMPT)


def chosen_by_name(gone):
    check_names(["tuned"], EngineConfig(template="gone"))
    return load_encoder(gone.resolve(), gone.host, "gone").prompt_ids(PROMPT)


def base_of_an_adapter(gone):
    return Encoder(gone.tokenizer, base_template_of(gone.resolve(), gone.host)).prompt_ids(PROMPT)


def merging(gone):
    run = gone.attempt()
    merge(MergeConfig(adapter="tuned"), run)
    return load_encoder(resolve_model(str(run.output), gone.host), gone.host, "").prompt_ids(PROMPT)


def predict_contract(gone):
    config = PredictConfig(model="tuned", input=str(gone.questions))
    with SequentialModels({"tuned": gone.resolve()}, config, gone.host, print) as models:
        contract = models.contract("tuned")
    if contract is None:  # the job itself says why when it loads the model
        load_encoder(gone.resolve(), gone.host, "")
    assert contract.name == "gone"


def training(gone):
    check(gone.recipe(), gone.host)
    check(gone.recipe(template="gone"), gone.host)
    return prepare_run(gone.recipe(), gone.host).encoder.prompt_ids(PROMPT)


def counting(gone):
    found = measure(MeasureConfig(data=str(gone.questions), model="tuned"), gone.attempt())
    assert found["template"] == "gone"


def page_models(gone):
    assert gone.services.models.template("tuned").name == "gone"
    assert gone.services.models.template("tuned", "gone").name == "gone"
    return gone.services.models.encoder("tuned").prompt_ids(PROMPT)


def page_predict(gone):
    config = PredictConfig(model="tuned", input=str(gone.questions), template="gone")
    gone.services.predictions.start(config)
    (prompt, *_) = gone.services.predictions.preview(str(gone.questions), "tuned").prompts
    if isinstance(prompt, str):  # what is shown in its place
        raise CamelidError(prompt)
    assert prompt.template == "gone"


def a_request(gone):
    out, loaded = io.StringIO(), LoadedModels()
    loaded.load({"m": "tuned"}, gone.host, EngineConfig(dtype="float32"))
    turns = [{"role": "user", "content": "How many?"}]
    sampling = {"max_new_tokens": 1}
    EngineHost(out, loaded)._chat(1, {"messages": turns, "model": "m", "template": "gone", "sampling": sampling})
    loaded.close()
    assert json.loads(out.getvalue().splitlines()[-1])["event"] == "done"


def command(group: typer.Typer, *arguments: str):
    def run(gone):
        words = [each.format(messages=gone.messages, questions=gone.questions) for each in arguments]
        typer.main.get_command(group).main(words, standalone_mode=False)

    return run


SURFACES = {
    "chat and serve": chat,
    "--template": chosen_by_name,
    "the base of an adapter": base_of_an_adapter,
    "merge": merging,
    "predict": predict_contract,
    "train": training,
    "a request's template": a_request,
    "measure": counting,
    "the pages' tokens": page_models,
    "Predict page": page_predict,
    "templates show": command(templates.app, "show", "gone", "--model", "tuned"),
    "templates render": command(templates.app, "render", "gone", "{messages}", "--tokens", "tuned"),
    "templates check": command(templates.app, "check", "gone", "tuned"),
    "datasets stats": command(datasets.app, "stats", "{questions}", "--model", "tuned"),
}
WITHOUT_A_MODEL = {
    "templates show": command(templates.app, "show", "gone"),
    "templates render": command(templates.app, "render", "gone", "{messages}"),
    "templates check": command(templates.app, "check", "gone"),
}


@pytest.fixture
def attempt(home):
    yield from attempts(home)


@pytest.fixture
def gone(services, home, questions, attempt):
    return Gone(services, home, questions, attempt)


def test_no_other_code_looks_a_template_up_by_name():
    """What is found by `template_choice` is found everywhere; its tests' helpers may look up what they registered."""
    sources = Path(__file__).parents[3].glob("*/*/src/**/*.py")
    users = {path.name for path in sources if ".templates[" in path.read_text(encoding="utf-8")}
    assert users == {"template_choice.py", "testing.py"}


@pytest.mark.parametrize("surface", SURFACES)
def test_its_jinja_is_used_wherever_a_template_is_needed(gone, surface):
    ids = SURFACES[surface](gone)
    assert ids is None or ids == gone.ids


@pytest.mark.parametrize("jinja", ["", "{{ messages[0].content }}"], ids=["none", "of no use"])
@pytest.mark.parametrize("surface", SURFACES)
def test_where_it_cannot_be_had_the_plugin_is_named(gone, surface, jinja):
    gone.without_jinja(jinja)
    with pytest.raises(
        CamelidError, match="'gone' is not here: its plugin is not installed; pip install camelid-gone==2"
    ):
        SURFACES[surface](gone)


@pytest.mark.parametrize("surface", WITHOUT_A_MODEL)
def test_without_a_model_the_plugin_and_a_model_that_brings_it_are_named(gone, surface):
    with pytest.raises(
        CamelidError, match=r"pip install camelid-gone==2\.0\. 'full' was trained with it .* --model full"
    ):
        WITHOUT_A_MODEL[surface](gone)
