"""Argument lists of merge.py: the command each means."""

from __future__ import annotations

import pytest
from camelid_core.cli import load_command
from camelid_core.errors import UsageError
from camelid_core.plugins import load_host
from camelid_train.commands.compat import app
from camelid_train.compat.merge import read
from typer.testing import CliRunner


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        ("--model_type llama --size 7b --lora_dir xxx --merged_dir yyy", "./yyy"),
        ("--lora_dir xxx", "./saved_models/tmp"),
        ("--lora-dir=xxx --merged_dir /tmp/yyy", "/tmp/yyy"),
    ],
)
def test_the_manuals_command_means_a_merge(arguments, out):
    assert read(arguments.split()).words == ["merge", "xxx", "--out", out]


@pytest.mark.parametrize("arguments", [[], ["--lora_dir", "none"], ["--lora_dir", "None"]])
def test_without_an_adapter_there_is_nothing_to_merge(arguments):
    with pytest.raises(UsageError, match="--lora_dir is needed"):
        read(arguments)


def test_the_command_prints_what_it_means_and_what_it_left_out():
    shown = CliRunner().invoke(app, ["merge", "--lora_dir", "a b", "--merged_dir", "yyy", "--wild", "3"])
    assert shown.output.splitlines()[-1] == "camelid merge 'a b' --out ./yyy"
    assert "# Ignored, because merge has no such flag: --wild 3" in shown.output


def test_scripts_of_other_packages_stand_beside_ours():
    host = load_host()
    shown = load_command(host.commands["compat"]).commands.keys()
    ours = ["uniform_finetune", "finetune", "merge", "weight_diff"]
    assert list(shown) == [*ours, *host.registry("camelid_compat_commands").names()]


def test_run_does_what_the_line_says():
    """The adapter is not there: `camelid merge` itself says so."""
    done = CliRunner().invoke(app, ["merge", "--lora_dir", "./no-such-adapter", "--merged_dir", "yyy", "--run"])
    assert done.exit_code != 0
    assert "no-such-adapter" in str(done.exception)
