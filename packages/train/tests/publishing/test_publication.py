"""Publishing a run: what is planned is what arrives, families are linked, and what must not leave does not."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from camelid_core.artefacts import Licences, verify_directory
from camelid_core.config import validate
from camelid_core.errors import ArtefactError, ConfigError, JobError, ModelError, UnknownName, UsageError
from camelid_core.models.resolved_model import _find, resolve_model
from camelid_core.plugins import load_host
from camelid_train.publishing.cards.front_matter import fields_of
from camelid_train.publishing.git_repository import GitRepository
from camelid_train.publishing.local_hub import LocalHub
from camelid_train.publishing.publication import plan, publish
from camelid_train.publishing.publish_config import PublishConfig
from camelid_train.publishing.target_choice import open_target

ACT = "gptq-4bit-32g-actorder_True"


def config_of(artefacts, hub, **more) -> PublishConfig:
    values = {"artefacts": [str(each) for each in artefacts], "to": str(hub), "name": "me/run", **more}
    return validate(PublishConfig, values, "the test").with_absolute_paths()


def published(artefacts, hub, **more):
    config = config_of(artefacts, hub, **more)
    planned = plan(config)
    return planned, publish(planned)


def files_at(hub, repository, branch="main"):
    directory = resolve_model(f"hub:{hub}/{repository}:{branch}", load_host()).base
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def hub(tmp_path):
    return tmp_path / "hub"


def test_a_family_is_published_verifies_and_links_to_each_other(artefacts, hub):
    planned, summary = published(artefacts.family(), hub)
    names = ["me/run-peft", "me/run-fp32", "me/run-GPTQ", "me/run-GGUF"]
    assert planned.repositories == names
    assert list(summary["branches"])[2:4] == [f"me/run-GPTQ:{ACT}", "me/run-GPTQ:main"]
    target = LocalHub(hub)
    for repository in names:
        for branch, found in target.branches(repository).items():
            directory = hub / ".cache" / f"models--{repository.replace('/', '--')}" / "snapshots"
            commit = GitRepository(hub / repository).branches()[branch]
            assert verify_directory(directory / commit).manifest == found.manifest
            assert found.card.encode() == (directory / commit / "README.md").read_bytes()
            for other in names:
                assert f"](/{other})" in found.card
            assert "N/A" in found.card  # variants that were not made
    assert len({each.card for each in target.branches("me/run-GPTQ").values()}) == 1
    gptq, merged = (target.branches(name)["main"].card for name in ("me/run-GPTQ", "me/run-fp32"))
    assert "- Original model: [Run](/me/run-fp32)" in gptq
    assert fields_of(gptq)["base_model"] == "me/run-fp32"
    assert "- Original model: [someone/tiny-base](https://huggingface.co/someone/tiny-base)" in merged
    assert fields_of(merged)["base_model"] == "someone/tiny-base"
    assert {"run.Q4_K_M.gguf", "run.Q8_0.gguf"} <= set(target.branches("me/run-GGUF")["main"].manifest.files)
    gptq = {path.name for path in (artefacts.root / "run-gptq" / ACT).iterdir()} | {".gitattributes"}
    assert set(files_at(hub, "me/run-GPTQ", ACT)) == gptq
    assert len(files_at(hub, "me/run-GPTQ", ACT)["quantize_config.json"]) == 186


def test_what_is_planned_is_what_arrives_and_again_is_no_commit(artefacts, hub):
    planned, summary = published(artefacts.family(), hub)
    for each in planned.branches:
        if each.branch != "main" or each.repository.endswith("GPTQ"):
            found = files_at(hub, each.repository, each.branch)
            found.pop(".gitattributes")
            assert {file.name: file.content for file in each.files} == found
    assert planned.size == sum(file.size for each in planned.branches for file in each.files)
    assert json.loads(json.dumps(planned.as_values()))["bytes"] == planned.size
    _, again = published(paths_of(artefacts), hub)
    assert again["branches"] == summary["branches"]


def paths_of(artefacts):
    root = artefacts.root
    return [root / "run", root / "run-merged", root / "run-gptq", root / "run-q4_k_m", root / "run-q8_0"]


def test_published_apart_the_family_finds_each_other_and_branches_share_one_card(artefacts, hub):
    made = artefacts.family()
    published(made[:1], hub, name="me/run-peft")
    first = LocalHub(hub).branches("me/run-peft")["main"].card
    assert "GPTQ models for GPU inference, with multiple quantisation parameter options: N/A" in first
    published([f"{made[2]}/main"], hub, name="me/run-GPTQ")
    published([f"{made[2]}/{ACT}"], hub, name="me/run-GPTQ")
    cards = {name: each.card for name, each in LocalHub(hub).branches("me/run-GPTQ").items()}
    assert set(cards) == {"main", ACT}
    assert len(set(cards.values())) == 1
    assert f"(/me/run-GPTQ/tree/{ACT})" in cards["main"]
    assert "](/me/run-peft)" in cards["main"]
    for branch in cards:
        commit = GitRepository(hub / "me/run-GPTQ").branches()[branch]
        verify_directory(hub / ".cache/models--me--run-GPTQ/snapshots" / commit)
    published(made[:1], hub, name="me/run-peft")
    assert "](/me/run-GPTQ)" in LocalHub(hub).branches("me/run-peft")["main"].card
    published(made[3:4], hub, name="me/run-GGUF")
    published(made[4:], hub, name="me/run-GGUF")
    assert {"run.Q4_K_M.gguf", "run.Q8_0.gguf"} <= set(LocalHub(hub).branches("me/run-GGUF")["main"].manifest.files)
    commit = GitRepository(hub / "me/run-GGUF").branches()["main"]
    verify_directory(hub / ".cache/models--me--run-GGUF/snapshots" / commit)


def test_what_a_person_wrote_on_the_card_stays(artefacts, hub):
    made = artefacts.family()
    published(made[2:3], hub, name="me/run-GPTQ")
    target = LocalHub(hub)
    card = target.branches("me/run-GPTQ")["main"].card
    mine = card.replace("---\n\n", "---\n\n", 1).replace(
        "<!-- description start -->", "My own words.\n\n<!-- description start -->"
    )
    mine = mine.replace("model_name:", "my_field: kept\nmodel_name:")
    from camelid_train.publishing.outgoing_file import OutgoingFile

    target.write("me/run-GPTQ", "main", [OutgoingFile.of("README.md", mine.encode())], lambda size, name: None, True)
    published([artefacts.gptq(8, -1, True, "eight")], hub, name="me/run-GPTQ")
    after = target.branches("me/run-GPTQ")["main"].card
    assert "My own words.\n\n<!-- description start -->" in after
    assert fields_of(after)["my_field"] == "kept"
    assert "| 8 | None | Yes |" in after
    assert target.branches("me/run-GPTQ")["gptq-8bit--1g-actorder_True"].card == after


@pytest.mark.parametrize("kind", ["predictions", "evaluation"])
def test_what_is_made_of_rows_stays_here(artefacts, hub, kind):
    directory = artefacts.model("answers")
    manifest = directory / "camelid.json"
    manifest.write_text(manifest.read_text().replace('"kind": "model"', f'"kind": "{kind}"'))
    with pytest.raises(ArtefactError, match="stay on this machine"):
        plan(config_of([directory], hub))


def test_files_that_are_no_part_of_a_model_are_left_out_with_the_reason(artefacts, hub):
    directory = artefacts.adapter()
    names = {
        "optimizer.safetensors": "optimizer state", "trainer_state.json": "training state",
        "rows.jsonl": "rows or logs",
        "data.parquet": "rows or logs", "events.log": "rows or logs", "predictions.json": "predictions",
        "checkpoint-5/model.safetensors": "a checkpoint", "notes.md": "no part of a model",
        "run.py": "no part of a model",
    }  # fmt: skip
    from camelid_core.artefacts import read_artefact, write_manifest

    for name in names:
        (directory / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(directory / "adapter_model.safetensors", directory / name)
    write_manifest(directory, read_artefact(directory).manifest)  # even where the manifest lists them
    (directory / "vocab.txt").write_text("later")
    planned, _ = published([directory], hub)
    left_out = {each.name: each.why for each in planned.branches[0].left_out}
    assert left_out == names | {"vocab.txt": "not in the artefact's manifest"}
    target = LocalHub(hub)
    assert not set(names) & set(target.branches("me/run")["main"].manifest.files)


def test_unsound_artefacts_are_refused(artefacts, hub, tmp_path):
    directory = artefacts.model()
    (directory / "config.json").write_text("{}")
    with pytest.raises(ArtefactError, match="not the file that was written"):
        plan(config_of([directory], hub))
    (tmp_path / "plain").mkdir()
    with pytest.raises(ArtefactError, match="no artefact of Camelid"):
        plan(config_of([tmp_path / "plain"], hub))
    with pytest.raises(UnknownName, match="'nothing'"):
        plan(config_of(["nothing"], hub))
    diff = artefacts.model("diff")
    manifest = diff / "camelid.json"
    manifest.write_text(manifest.read_text().replace('"kind": "model"', '"kind": "diff"'))
    with pytest.raises(ArtefactError, match="without the hash"):
        plan(config_of([diff], hub))
    assert not hub.exists()


def test_a_failed_proof_blocks_unless_overridden_and_that_is_recorded(artefacts, hub):
    proof = {"passed": False, "failed": ["kl_mean"], "kl_mean": 0.5, "top_equal": 0.61, "n_texts": 3}
    proof |= {"n_tokens": 900, "kl_interval": [0.4, 0.6]}
    directory = artefacts.gptq(3, 128, False, "three", metrics={"proof": proof})
    with pytest.raises(ArtefactError, match=r"failed its proof .*kl_mean.*--override-proof"):
        plan(config_of([directory], hub))
    published([directory], hub, override_proof="a study of what 3 bits lose")
    found = LocalHub(hub).branches("me/run")["main"]
    assert found.manifest.parameters["proof_overridden"] == "a study of what 3 bits lose"
    line = (
        "- `main`: **proof failed** (kl_mean), published all the same: a study of what 3 bits lose; "
        "KL divergence 0.50 ± 0.10;"
    )
    assert line in found.card
    sound = artefacts.gptq(4, 64, True, "sound", metrics={"proof": {"passed": True, "kl_mean": 0.01}})
    planned, _ = published([sound], hub, name="me/sound", override_proof="why")
    assert "recorded nowhere" in planned.warnings[-1]
    assert "- `main`: proved; KL divergence 0.010 (no interval)" in LocalHub(hub).branches("me/sound")["main"].card
    published([artefacts.adapter()], hub, name="me/plain")
    assert "- `main`: not proved" in LocalHub(hub).branches("me/plain")["main"].card


def test_branches_are_named_and_never_mixed_up(artefacts, hub):
    both = [artefacts.gptq(4, 32, True, "a"), artefacts.gptq(4, 32, True, "b")]
    with pytest.raises(UsageError, match="main"):
        plan(config_of([both[0], artefacts.gptq(4, 128, False, "c"), artefacts.gptq(4, 128, False, "d")], hub))
    with pytest.raises(UsageError, match="2 artefacts"):
        plan(config_of(both, hub, branch="x"))
    planned, _ = published(both[:1], hub)
    assert [each.branch for each in planned.branches] == ["main"]  # a repository needs one
    planned, _ = published(both[1:], hub, branch="mine")
    assert [(each.branch, each.keep_others) for each in planned.branches] == [("mine", False), ("main", True)]
    for values in ({"branch": "a b"}, {"name": "me"}, {"name": "me/../x"}):
        with pytest.raises(ConfigError, match="cannot be used"):
            config_of(both, hub, **values)
    with pytest.raises(UsageError, match="--name ORG/NAME"):
        plan(config_of(both[:1], "hf", name=""))


def test_licences_are_computed_said_first_and_their_texts_come_along(artefacts, hub, tmp_path):
    base = shutil.copytree(artefacts.base, tmp_path / "llama-2")
    artefacts.base = base
    from camelid_core.artefacts import DatasetUse

    use = DatasetUse(id="airoboros", rows=1, sha256="1" * 64, licence="cc-by-nc-4.0", generator=["openai-terms-of-use"])
    model = artefacts.model(licences=Licences.of("llama2", [use]))
    planned = plan(config_of([model], hub))
    assert any("asks that a copy of it goes with the weights" in text for text in planned.warnings)
    for name in ("LICENSE.txt", "Notice", "USE_POLICY.md"):
        (base / name).write_text(f"Meta's {name}")
    planned, _ = published([model], hub)
    assert {"LICENSE.txt", "Notice", "USE_POLICY.md"} <= {each.name for each in planned.branches[0].files}
    words = "\n".join(planned.licence)
    for part in (
        "Base model someone/tiny-base: llama2", "cc-by-nc-4.0 (no commercial use)", "openai-terms-of-use",
        "Effective licence, all of these at once: cc-by-nc-4.0 AND llama2 (no commercial use)",
        "Meta's files are included (LICENSE.txt, Notice, USE_POLICY.md)", "no position on such dual licensing",
        "Commercial use is excluded.",
    ):  # fmt: skip
        assert part in words
    card = LocalHub(hub).branches("me/run")["main"].card
    assert all(line in card for line in planned.licence)
    assert (fields_of(card)["license"], fields_of(card)["license_name"]) == ("other", "cc-by-nc-4.0 AND llama2")
    assert "research alone" in "\n".join(
        plan(config_of([artefacts.model("first", licences=Licences.of("llama"))], hub)).licence
    )


def test_a_hub_that_fails_half_way_says_how_far_it_came_and_a_retry_goes_on(artefacts, hub, monkeypatch):
    config = config_of(artefacts.family(), hub)
    target = open_target(config.to)
    planned = plan(config, target)
    write, calls = LocalHub.write, iter(range(99))

    def refuses(*arguments):
        if next(calls) == 2:
            raise JobError("it refused.")
        return write(*arguments)

    monkeypatch.setattr(LocalHub, "write", refuses)
    with pytest.raises(JobError, match=rf"me/run-GPTQ:{ACT} was not published: it refused. 2 of 5 branches are there"):
        publish(planned, target)
    assert target.branches("me/run-GPTQ") == {}
    done = publish(plan(config, target), target)
    assert len(done["branches"]) == 5


def test_a_branch_that_was_deleted_is_gone_from_every_address_and_from_the_cards(artefacts, hub):
    made = artefacts.family()
    published(made[2:3], hub, name="me/run-GPTQ")
    before = LocalHub(hub).branches("me/run-GPTQ")["main"].card
    subprocess.run(["git", "-C", hub / "me/run-GPTQ", "branch", "-D", ACT], check=True, capture_output=True)
    published([f"{made[2]}/main"], hub, name="me/run-GPTQ")
    after = LocalHub(hub).branches("me/run-GPTQ")
    assert set(after) == {"main"}
    with pytest.raises(ModelError, match="it has main"):
        resolve_model(f"hub:{hub}/me/run-GPTQ:{ACT}", load_host())
    gone = [line for line in before.splitlines() if line not in after["main"].card.splitlines()]
    assert len(gone) == 3  # its rows of both tables, and its test status
    assert all(ACT in line for line in gone)


def test_one_of_several_gguf_files_is_named_behind_the_branch(artefacts, hub):
    _, summary = published([artefacts.gguf("Q4_K_M"), artefacts.gguf("Q8_0")], hub, name="me/run-GGUF")
    names = [line.split()[2] for line in summary["load"] if line.startswith("camelid chat ")]
    assert [name.rpartition("/")[2] for name in names] == ["run.Q4_K_M.gguf", "run.Q8_0.gguf"]
    found = [_find(name, {}) for name in names]
    assert [path.read_bytes() for path in found] == [
        (artefacts.root / place).read_bytes() for place in ("run-q4_k_m/run.Q4_K_M.gguf", "run-q8_0/run.Q8_0.gguf")
    ]
    assert _find(names[0].replace("Q4", "Q5"), {}) is None
