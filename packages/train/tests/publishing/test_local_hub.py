"""A local hub: one branch by three addresses gives the same bytes, whole or not at all, and no commit for nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from camelid_core.errors import DiskFull, JobError, MissingPackage, ModelError, UsageError
from camelid_core.models.resolved_model import resolve_model
from camelid_core.plugins import load_host
from camelid_train.publishing import git_repository
from camelid_train.publishing.local_hub import LocalHub
from camelid_train.publishing.outgoing_file import OutgoingFile

BRANCH = "gptq-4bit-32g-actorder_True"
REPOSITORY = "me/tiny"
QUIET = lambda size, name: None  # noqa: E731


def files_of(directory: Path) -> list[OutgoingFile]:
    return [OutgoingFile.of(path.name, path) for path in sorted(directory.iterdir()) if path.is_file()]


def contents(directory: Path) -> dict[str, bytes]:
    paths = (
        path for path in directory.rglob("*") if path.is_file() and ".git" not in path.relative_to(directory).parts
    )
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def clone(hub: LocalHub, branch: str, target: Path) -> Path:
    command = next(line for line in hub.load_lines(REPOSITORY, branch) if line.startswith("git clone")).split()
    command.append(str(target))
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.fixture
def hub(tmp_path, home) -> LocalHub:
    return LocalHub(tmp_path / "hub")


def test_three_addresses_give_the_same_bytes(hub, base, tmp_path, monkeypatch):
    """Camelid's, git's and transformers' own, for `main` and for another branch, without a network."""
    for branch, seed in (("main", 0), (BRANCH, 1)):
        hub.write(REPOSITORY, branch, files_of(base("llama", seed)), QUIET)
    for branch, seed in (("main", 0), (BRANCH, 1)):
        expected = contents(base("llama", seed))
        resolved = resolve_model(f"{hub.name}/{REPOSITORY}:{branch}", load_host()).base
        cloned = clone(hub, branch, tmp_path / f"clone-{branch}")
        for found in (contents(resolved), contents(cloned)):
            assert found.pop(".gitattributes")
            assert found == expected
        remote = subprocess.run(["git", "branch", "-r"], cwd=cloned, capture_output=True, text=True, check=True)
        assert {line.split()[0] for line in remote.stdout.splitlines()} - {"origin/HEAD"} == {f"origin/{branch}"}
        monkeypatch.setenv("HF_HUB_CACHE", str(hub.directory / ".cache"))
        assert resolve_model(f"{REPOSITORY}:{branch}", load_host()).base == resolved
    assert resolve_model(REPOSITORY, load_host()).base == resolve_model(f"{REPOSITORY}:main", load_host()).base
    program = (
        "import sys, torch; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "for branch, plain in zip(sys.argv[2::2], sys.argv[3::2]):\n"
        "    for name, more in ((sys.argv[1], {'revision': branch}), (plain, {})):\n"
        "        AutoTokenizer.from_pretrained(name, trust_remote_code=False, **more)\n"
        "        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, **more)\n"
        "        print(model(torch.arange(3, 9)[None]).logits.sum().item())"
    )
    offline = {**os.environ, "HF_HUB_CACHE": str(hub.directory / ".cache"), "HF_HUB_OFFLINE": "1"}
    places = ["main", str(base("llama", 0)), BRANCH, str(base("llama", 1))]
    command = [sys.executable, "-P", "-c", program, REPOSITORY, *places]
    done = subprocess.run(command, env=offline, capture_output=True, text=True, check=True)
    main, plain_main, branch, plain_branch = done.stdout.split()
    assert (main, branch) == (plain_main, plain_branch)
    assert main != branch


def test_an_adapter_is_had_by_peft_and_its_tokenizer_by_the_commit(hub, base, tmp_path):
    """Without a network, transformers looks for a `config.json` first, which no adapter has."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = tmp_path / "adapter"
    plain = AutoModelForCausalLM.from_pretrained(base(), dtype="float32")
    get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False)).save_pretrained(directory)
    AutoTokenizer.from_pretrained(base(), trust_remote_code=False).save_pretrained(directory)
    (directory / "README.md").unlink()
    commit = hub.write(REPOSITORY, "main", files_of(directory), QUIET)
    program = (
        "import sys, torch; from peft import PeftModel; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "base = lambda: AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[2], revision=sys.argv[4], trust_remote_code=False)\n"
        "ids = tokenizer('Two and two', return_tensors='pt').input_ids\n"
        "for name, more in ((sys.argv[2], {'revision': 'main'}), (sys.argv[3], {})):\n"
        "    print(PeftModel.from_pretrained(base(), name, **more)(ids).logits.sum().item())"
    )
    offline = {**os.environ, "HF_HUB_CACHE": str(hub.directory / ".cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-P", "-c", program, str(base()), REPOSITORY, str(directory), commit]
    published, original = subprocess.run(
        command, env=offline, capture_output=True, text=True, check=True
    ).stdout.split()
    assert published == original


def test_the_same_bytes_make_no_commit_and_other_bytes_leave_other_branches_alone(hub, base):
    first = hub.write(REPOSITORY, "main", files_of(base()), QUIET)
    assert hub.write(REPOSITORY, "main", files_of(base()), QUIET) == first
    hub.write(REPOSITORY, BRANCH, files_of(base("llama", 1)), QUIET)
    tips = git_repository.GitRepository(hub.directory / REPOSITORY).branches
    assert tips()["main"] == first
    fewer = [each for each in files_of(base()) if each.name != "generation_config.json"]
    second = hub.write(REPOSITORY, "main", fewer, QUIET)
    assert tips() == {"main": second, BRANCH: tips()[BRANCH]}
    assert "generation_config.json" not in contents(resolve_model(f"{hub.name}/{REPOSITORY}", load_host()).base)
    card = [OutgoingFile.of("README.md", b"# card\n")]
    hub.write(REPOSITORY, "main", card, QUIET, keep_others=True)
    found = contents(resolve_model(f"{hub.name}/{REPOSITORY}", load_host()).base)
    assert found["README.md"] == b"# card\n"
    assert found["model.safetensors"] == contents(base())["model.safetensors"]


@pytest.mark.parametrize("step", ["store", "commit", "move_branch"])
def test_a_failure_half_way_leaves_the_branch_as_it_was_and_a_retry_goes_on(hub, base, monkeypatch, step):
    first = hub.write(REPOSITORY, "main", files_of(base()), QUIET)
    before = contents(resolve_model(f"{hub.name}/{REPOSITORY}", load_host()).base)
    real = getattr(git_repository.GitRepository, step)
    changed = [*files_of(base("llama", 1)), OutgoingFile.of("README.md", b"# Changed\n")]
    second = iter((False, *[True] * 99))

    def fails(*arguments):
        if step != "store" or next(second):
            raise OSError(28, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(git_repository.GitRepository, step, fails)
        with pytest.raises(DiskFull, match=r"No space left on device\. The branch is as it was"):
            hub.write(REPOSITORY, "main", changed, QUIET)
    assert git_repository.GitRepository(hub.directory / REPOSITORY).branches() == {"main": first}
    assert contents(resolve_model(f"{hub.name}/{REPOSITORY}", load_host()).base) == before
    assert hub.write(REPOSITORY, "main", changed, QUIET) != first
    assert not list(hub.directory.rglob("*.partial"))


def test_two_who_publish_to_one_branch_do_not_overwrite_each_other(hub, base, monkeypatch):
    hub.write(REPOSITORY, "main", files_of(base()), QUIET)
    git = git_repository.GitRepository
    commit = git.commit

    def overtaken(self, *arguments):
        monkeypatch.setattr(git, "commit", commit)
        hub.write(REPOSITORY, "main", [OutgoingFile.of("README.md", b"theirs")], QUIET, keep_others=True)
        return commit(self, *arguments)

    monkeypatch.setattr(git, "commit", overtaken)
    with pytest.raises(JobError, match="The branches are as they were"):
        hub.write(REPOSITORY, "main", files_of(base("llama", 1)), QUIET)
    assert contents(resolve_model(f"{hub.name}/{REPOSITORY}", load_host()).base)["README.md"] == b"theirs"


def test_a_file_that_changes_meanwhile_is_not_published(hub, tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{}")
    planned = OutgoingFile.of("config.json", path)
    path.write_text("{ }")
    with pytest.raises(JobError, match="changed while it was published"):
        hub.write(REPOSITORY, "main", [planned], QUIET)
    assert hub.branches(REPOSITORY) == {}


def test_names_are_told_apart_and_what_is_not_there_is_said(hub, base):
    hub.write(REPOSITORY, "main", files_of(base()), QUIET)
    for name, error, words in (
        (f"{hub.name}/{REPOSITORY}:other", ModelError, "has no branch 'other'; it has main"),
        (f"{hub.name}/me/gone", ModelError, "no repository 'me/gone'; it has me/tiny"),
        (f"{hub.name}/{REPOSITORY}:a b", UsageError, "letters, digits"),
        (f"{hub.name}/{REPOSITORY}:../x", UsageError, "names no repository"),
        (f"{REPOSITORY}:..", UsageError, "letters, digits"),
        ("hub:nothing", UsageError, "hub:DIR/ORG/NAME:BRANCH"),
    ):
        with pytest.raises(error, match=words):
            resolve_model(name, load_host())
    for branch in ("", "-x", "a/b", "x.lock", "a..b"):
        with pytest.raises(UsageError, match="cannot be used"):
            hub.write(REPOSITORY, branch, [], QUIET)
    for repository in ("tiny", "a/b/c", "../b", "a/b.git", "a/..b"):
        with pytest.raises(UsageError, match="write ORG/NAME"):
            hub.branches(repository)


def test_without_git_it_says_what_to_install(hub, base, monkeypatch):
    monkeypatch.setattr(git_repository.shutil, "which", lambda name: None)
    with pytest.raises(MissingPackage, match="apt install git"):
        hub.write(REPOSITORY, "main", files_of(base()), QUIET)
    assert not (hub.directory / "me").exists() or not list((hub.directory / "me").iterdir())
