"""What camelid-train registers: tuning methods, objectives, rewards, exporters, tasks and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from camelid_core import hookimpl

if TYPE_CHECKING:
    from camelid_core.commands import Command
    from camelid_core.plugin_kit.plugin_kind import PluginKind
    from camelid_core.tasks import Task

    from .export.exporter import Exporter
    from .methods import TuningMethod
    from .objectives import LearningObjective
    from .objectives.rewards import Reward


@hookimpl
def camelid_hookspecs() -> list[str]:
    return ["camelid_train.hookspecs"]


@hookimpl
def camelid_tuning_methods() -> list[TuningMethod[Any]]:
    from .methods.adalora import ADALORA
    from .methods.full import FULL
    from .methods.gptq import GPTQ_LORA
    from .methods.ia3 import IA3
    from .methods.lora import LORA
    from .methods.p_tuning import P_TUNING
    from .methods.prefix_tuning import PREFIX
    from .methods.prompt_tuning import PROMPT
    from .methods.qlora import QLORA

    return [LORA, QLORA, FULL, ADALORA, IA3, PREFIX, P_TUNING, PROMPT, GPTQ_LORA]


@hookimpl
def camelid_objectives() -> list[LearningObjective[Any]]:
    from .objectives.sft import SFT

    return [SFT]


@hookimpl
def camelid_rewards() -> list[Reward]:
    from .objectives.rewards import EXACT_ANSWER

    return [EXACT_ANSWER]


@hookimpl
def camelid_exporters() -> list[Exporter[Any]]:
    from .export.bitsandbytes import BITSANDBYTES

    return [BITSANDBYTES]


@hookimpl
def camelid_plugin_kinds() -> list[PluginKind]:
    from .plugin_kinds import KINDS

    return list(KINDS)


@hookimpl
def camelid_tasks() -> list[Task]:
    from camelid_core.tasks import Task

    return [
        Task(
            "train",
            "Fine-tune a model.",
            "camelid_train.config:Recipe",
            "camelid_train.launching:train",
            bundle="camelid_train.provenance.reproduce:bundle",
            output="train.output",
            needs="camelid_train.needs:train",
            portable=True,
        ),
        Task(
            "merge",
            "Merge an adapter into its base model.",
            "camelid_train.export.merge_config:MergeConfig",
            "camelid_train.export.merge:merge",
            needs="camelid_train.needs:merge",
        ),
        Task(
            "export",
            "Write a model in another format.",
            "camelid_train.export.config:ExportConfig",
            "camelid_train.export.task:export",
            needs="camelid_train.needs:export",
        ),
        Task(
            "publish",
            "Publish artefacts to a hub.",
            "camelid_train.publishing.publish_config:PublishConfig",
            "camelid_train.publishing.publish_task:publish",
            needs="camelid_train.needs:publish",
        ),
        Task(
            "diff",
            "Make the weight diff of a model to its base.",
            "camelid_train.export.config:DiffConfig",
            "camelid_train.export.weight_diff:make",
        ),
        Task(
            "recover",
            "Recover a model from its weight diff.",
            "camelid_train.export.config:RecoverConfig",
            "camelid_train.export.weight_diff:recover",
        ),
    ]


@hookimpl
def camelid_commands() -> list[Command]:
    from camelid_core.commands import Command

    return [
        Command("train", "Fine-tune a model from a recipe.", "camelid_train.commands.train:app"),
        Command("launch", "Write the file that runs a recipe on a cluster.", "camelid_train.commands.launch:app"),
        Command("compat", "Read other tools' command lines.", "camelid_train.commands.compat:app"),
        Command("diff", "Make weight diffs, and recover models from them.", "camelid_train.commands.diff:app"),
        Command("export", "Write a model in another format.", "camelid_train.commands.export:app"),
        Command("publish", "Publish artefacts to the Hub or to a local hub.", "camelid_train.commands.publish:app"),
        Command("merge", "Merge an adapter into its base model.", "camelid_train.commands.merge:app"),
    ]
