"""What Camelid expects of a plugin, and what it says of settings that do not go together."""

from __future__ import annotations

import subprocess
import sys

import camelid_trl
import pytest
from camelid_core.errors import ConfigError
from camelid_core.plugins import Host, Plugin, load_host
from camelid_core.testing import tiny_tokenizer
from camelid_train.config import Recipe
from camelid_train.objectives.registry import objective_of
from camelid_train.objectives.rewards import EXACT_ANSWER
from camelid_trl.grpo import GRPO, GrpoObjective
from camelid_trl.trainer_mixin import FullBatches
from camelid_trl.trainers.grpo import GroupBatches, scorer
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["dpo", "kto", "orpo", "grpo"]


def test_camelid_finds_it_and_it_is_sound():
    host = load_host()
    assert [problem for problem in host.problems if problem.plugin == "camelid-trl"] == []
    assert host.provided_by("camelid-trl") == {"camelid_objectives": NAMES}, "install it: pip install -e ."


def test_its_names_are_nobody_elses():
    from camelid_train import plugin

    host = Host()
    host.load([Plugin("camelid-train", "0", plugin), Plugin("camelid-trl", "0", camelid_trl)])
    assert host.check() == []


def test_loading_it_and_reading_a_recipe_imports_nothing_heavy():
    code = (
        "import sys; from camelid_train.config import Recipe; Recipe.model_validate({'objective': {'type': 'grpo'}});"
        "print([name for name in ('trl', 'torch', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_every_field_explains_itself_and_a_recipe_keeps_it(name):
    recipe = Recipe.model_validate({"objective": {"type": name}})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    for key, field in type(recipe.objective).model_fields.items():
        assert key == "type" or (field.description or "").endswith("."), key
    objective_of(recipe.objective).check(recipe.objective, recipe)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["objective.type=dpo", "method.initial=pissa"], "compares with the model as it was"),
        (["objective.type=kto", "method.initial=olora"], 'Set method.initial="default"'),
        (["objective.type=kto", "train.batch_size=1"], "Set train.batch_size=2 or more"),
        (["objective.type=orpo", "method.type=prompt"], "which puts virtual tokens before each row"),
        (["objective.type=grpo", "method.type=prefix"], "which puts virtual tokens before each row"),
        (["objective.type=grpo", "train.batch_size=6"], "group=4 does not divide the 6 answers of a step"),
        (["objective.type=orpo", "train.packing=on"], "Set train.packing='auto'"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_loaded(overrides, sentence):
    recipe = Recipe().with_overrides(overrides)
    with pytest.raises(ConfigError, match=sentence):
        objective_of(recipe.objective).check(recipe.objective, recipe)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("objective.beta=0", "greater than 0"),
        ("objective.bet=1", "Did you mean 'beta'"),
        ("objective.type=dpp", "objective 'dpp' is not known. Did you mean 'dpo'"),
        ("objective.loss=log", "'sigmoid', 'hinge', 'ipo' or 'robust'"),
    ],
)
def test_what_is_out_of_bounds_is_refused(override, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Recipe.model_validate({"objective": {"type": "dpo"}}).with_overrides([override])


def test_a_reward_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"reward 'exact' is not known\. Known: .*exact-answer"):
        GrpoObjective(reward="exact")


@pytest.mark.parametrize(
    ("answer", "reward"),
    [
        ("First 2 + 2 = 4. The answer is 12.", 1.0),
        ("The answer is 12.0", 1.0),
        ("答案是12。", 1.0),
        ("The answer is 13.", 0.0),
        ("I do not know.", 0.0),
        ("The answer is 12.<|im_end|>\nuser\nThe answer is 13.", 1.0),
        ("", 0.0),
    ],
)
def test_the_exact_answer_is_rewarded_and_what_comes_after_the_answer_is_not_read(answer, reward):
    tokenizer = tiny_tokenizer()
    score = scorer(EXACT_ANSWER, load_host().templates["chatml"], tokenizer)
    assert score([tokenizer.encode(answer)], ["3 * 4 = 12. The answer is 12."]) == [reward]


@given(
    count=st.integers(0, 60),
    size=st.integers(1, 5),
    accumulation=st.integers(1, 3),
    parts=st.integers(2, 3),
    epoch=st.integers(0, 2),
)
def test_processes_exchange_batches_of_one_size(count, size, accumulation, parts, epoch):
    lengths = [number % 7 for number in range(count)]
    shares = [FullBatches(lengths, size, 0, accumulation, part, parts) for part in range(parts)]
    for share in shares:
        share.set_epoch(epoch)
    batches = [list(share) for share in shares]
    assert {len(made) for made in batches} == {len(shares[0])} == {count // (size * parts)}
    taken = [index for made in batches for batch in made for index in batch]
    assert all(len(batch) == size for made in batches for batch in made)
    assert len(set(taken)) == len(taken)


@given(
    count=st.integers(0, 40),
    prompts=st.integers(1, 6),
    group=st.integers(2, 4),
    times=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_groups_are_whole_and_every_process_has_its_share(count, prompts, group, times, epoch):
    parts = 2 if prompts * group % 2 == 0 else 1
    shares = [GroupBatches(count, prompts, group, times, 7, part, parts) for part in range(parts)]
    for share in shares:
        share.set_epoch(epoch)
    whole = [[index for piece in pieces for index in piece] for pieces in zip(*shares, strict=True)]
    assert len(whole) == len(shares[0]) == count // prompts * times
    steps, taken = GRPO.one_epoch(GrpoObjective(group=group), count, prompts * group)
    assert (steps * times, taken) == (len(whole), sum(map(len, whole[::times])))
    assert all(len(batch) == prompts * group for batch in whole)
    assert all(batch.count(index) == group for batch in whole for index in batch)
    seen = [index for batch in whole[::times] for index in batch[::group]]
    assert len(set(seen)) == len(seen)
    assert all(batch == whole[number // times * times] for number, batch in enumerate(whole))
