"""What train's jobs say they need: reckoned, measured by a like run, or as a person says."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing

import pytest
from camelid_core.config import validate
from camelid_core.errors import JobError
from camelid_core.events import EventLog
from camelid_core.jobs.foreground import open_store
from camelid_core.jobs.job_needs import needs_of, possible_needs
from camelid_core.jobs.resources import Needs
from camelid_core.jobs.run_directories import EVENTS, attempt_directory
from camelid_core.models.model_size import parameters
from camelid_train import needs
from camelid_train.memory_estimate import LIBRARY_BYTES
from camelid_train.testing import small_recipe

GB = 10**9


@pytest.fixture
def recipe_with(home, base, sums):
    return lambda *overrides: small_recipe(base(), sums, overrides)


def test_a_run_is_reckoned_until_a_like_one_was_measured(home, recipe_with):
    store, recipe = open_store(), recipe_with()
    estimated = needs.train(recipe, store)
    assert (estimated.gpus, estimated.source, estimated.without_gpus.source) == (1, "estimated", "estimated")
    assert 0 < estimated.least < estimated.gpu_memory
    assert estimated.without_gpus.memory > LIBRARY_BYTES
    job = store.submit("train", recipe.model_dump(mode="json"))
    (directory := attempt_directory(home, job.id, 1)).mkdir(parents=True)
    with closing(EventLog(directory / EVENTS)) as log:
        log.emit("preflight", device="cpu", peak_memory=7 * GB)
        log.emit("preflight", device="cuda", peak_memory=10 * GB)
    measured = needs.train(recipe_with("train.learning_rate=0.5", "train.epochs=9"), store)
    assert (measured.source, measured.without_gpus.source) == ("measured", "measured")
    assert measured.without_gpus.memory == 7 * GB
    assert 11 * GB < measured.gpu_memory < 12.5 * GB, "what CUDA and gaps take is not in a peak"
    other = needs.train(recipe_with("train.batch_size=7"), store)
    assert other.source == "estimated", "another batch size needs other memory"


def test_each_process_has_a_card_of_its_own_and_memory_where_there_are_none(home, recipe_with):
    one, two = (needs.train(recipe_with(f"launch.processes={count}"), open_store()) for count in (1, 2))
    assert (two.gpus, two.gpu_memory) == (2, one.gpu_memory)
    assert two.without_gpus.memory == 2 * one.without_gpus.memory
    sharded = needs.train(recipe_with("launch.processes=2", "launch.strategy=fsdp"), open_store())
    assert sharded.least == one.least // 2


def test_what_a_person_says_holds(home, recipe_with):
    said = needs.train(recipe_with("launch.gpu_memory=12.5", "launch.memory=6", "launch.cores=3"), open_store())
    processor = Needs(cores=3, memory=6 * GB, least=6 * GB, source="given")
    card = Needs(1, int(12.5 * GB), 3, 6 * GB, int(12.5 * GB), "given", processor)
    assert said == card
    with pytest.raises(JobError, match=r"no machine that is known: it needs 90000\.0 GB of memory; .* has .* GB\. N"):
        possible_needs(open_store(), "train", recipe_with("launch.memory=90000").model_dump(mode="json"))
    elsewhere = recipe_with("launch.memory=90000").model_dump(mode="json")
    elsewhere["launch"]["executor"] = "ray"
    assert possible_needs(open_store(), "train", elsewhere) == Needs(cores=0)


def test_every_task_says_what_it_needs(home, base, sums):
    from camelid_core.plugins import load_host
    from camelid_train.export.config import ExportConfig
    from camelid_train.export.merge_config import MergeConfig

    store, model = open_store(), str(base())
    count = parameters(base())
    merge = needs.merge(validate(MergeConfig, {"adapter": model}, "the test"), store)
    assert merge == Needs(cores=1, memory=4 * count, least=merge.least, source="estimated")
    assert 0 < merge.least < merge.memory
    export = needs.export(validate(ExportConfig, {"source": model, "to": {"type": "bitsandbytes"}}, "the test"), store)
    assert export.gpus == 1
    assert export.without_gpus.memory > 0
    predict = needs_of(store, "predict", {"model": model, "input": str(sums)})
    assert (predict.gpus, predict.gpu_memory, predict.without_gpus.cores) == (1, 0, None)
    assert needs_of(store, "predict", {"model": model, "input": str(sums), "engine": "another"}) is None
    assert needs_of(store, "score", {"models": [model], "tasks": ["exact-answer"]}).gpus == 1
    assert needs_of(store, "context", {"models": [model]}).gpus == 1
    assert needs_of(store, "measure", {"data": str(sums), "model": model}) == Needs()
    assert needs_of(store, "publish", {"artefacts": [model], "to": "hf"}) == Needs(cores=0)
    assert needs_of(store, "no such task", {}) is None
    assert needs_of(store, "train", {"model": {"name": "nowhere"}}) is None, "the job itself says what is wrong"
    silent = {task.name for task in load_host().tasks if task.load_needs() is None}
    assert silent <= {"diff", "recover", "prove"}, "these run alone"


def test_what_a_job_needs_is_reckoned_without_torch(home, recipe_with):
    script = (
        "import json, sys\n"
        "from camelid_core.jobs.foreground import open_store\n"
        "from camelid_core.jobs.job_needs import needs_of\n"
        "assert needs_of(open_store(), 'train', json.load(sys.stdin)).gpus == 1\n"
        "assert 'torch' not in sys.modules\n"
    )
    recipe = json.dumps(recipe_with().model_dump(mode="json"))
    subprocess.run([sys.executable, "-c", script], input=recipe, text=True, check=True)
