"""The rules that a tab keeps, and services to lay one out with. Knows Gradio; knows no page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from camelid_core.jobs.foreground import open_store
from camelid_core.plugin_kit.description_rules import assert_typeable
from camelid_core.plugins import load_host

from .access_profile import DEMO, LOCAL, Profile
from .guarded_blocks import GuardedBlocks
from .services import Services
from .services.chat import ChatService
from .services.data import DataServices
from .services.exports import ExportService
from .services.job_groups import GroupService
from .services.jobs import JobService
from .services.machines import MachineService
from .services.merge import MergeService
from .services.models import ModelService
from .services.plugins import PluginService
from .services.predictions import PredictionService
from .services.training import TrainingService
from .tab_names import BUILT_IN_TABS
from .tabs import Tab


def open_services(home: Path, profile: Profile = LOCAL) -> Services:
    """Services in a home of their own, without a worker: what a test submits stays queued."""
    host = load_host()
    jobs = JobService(open_store(home), lambda: None)
    models = ModelService(host)
    merges = MergeService(models, jobs)
    return Services(
        home=home, host=host, jobs=jobs, groups=GroupService(jobs), machines=MachineService(jobs.store),
        data=DataServices.open(host, models), models=models,
        training=TrainingService(host, models, jobs), chat=ChatService(models),
        predictions=PredictionService(host, models, jobs),
        merge=merges, exports=ExportService(host, models, jobs, merges), plugins=PluginService(host), profile=profile,
    )  # fmt: skip


def assert_tab_contract(tab: Tab, home: Path) -> None:
    """What Camelid relies on in every tab, shown by laying it out with services in the empty directory `home`:

    - its name can be part of an address and is none of the built-in tabs', and it has a label;
    - `build` lays out components, each time it is called, and where changes are not allowed too;
    - the `elem_id` of a component begins with the tab's name, so that no other page has it;
    - no handler is an open API, and none is covered by Gradio's own progress.
    """
    assert_typeable(tab.name, "tab: the name")
    assert tab.name not in BUILT_IN_TABS, f"{tab.name}: a built-in tab is called so; choose another name"
    assert isinstance(tab.label, str), f"{tab.name}: the label is {tab.label!r}; write a text"
    assert tab.label.strip(), f"{tab.name}: the label is empty"
    local, demo = open_services(home), open_services(home, DEMO)
    for services in (local, local, demo):
        config = _laid_out(tab, services)
        own = [each for each in config["components"] if each["type"] not in ("tabs", "tabitem")]
        assert own, f"{tab.name}: build lays out no components"
        _assert_ids(tab, own)
        _assert_handlers(tab, config["dependencies"])


def _laid_out(tab: Tab, services: Services) -> dict[str, Any]:
    """The configuration that a browser gets of the tab by itself."""
    try:
        with GuardedBlocks(analytics_enabled=False) as demo, gr.Tabs(), gr.Tab(tab.label, id=tab.name):
            tab.build(services)
    except Exception as error:
        raise AssertionError(f"{tab.name}: build raises {type(error).__name__}: {error}") from error
    config: dict[str, Any] = demo.get_config_file()
    return config


def _assert_ids(tab: Tab, components: list[dict[str, Any]]) -> None:
    named = [ident for each in components if (ident := each["props"].get("elem_id"))]
    foreign = [ident for ident in named if not ident.startswith(f"{tab.name}-")]
    assert not foreign, f"{tab.name}: the elem_id {foreign[0]!r} does not begin with {tab.name + '-'!r}"
    assert len(set(named)) == len(named), f"{tab.name}: two components have one elem_id: {sorted(named)}"


def _assert_handlers(tab: Tab, dependencies: list[dict[str, Any]]) -> None:
    for each in dependencies:
        if each["backend_fn"]:
            where = f"{tab.name}: the handler {each.get('api_name') or each['id']!r}"
            private = each["api_visibility"] == "private"
            assert private, f"{where} is an open API; give it **PRIVATE of camelid_ui.tabs"
            covered = each["show_progress"] != "hidden" or each["show_progress_on"] != []
            assert not covered, f"{where} is covered by progress; give it **PRIVATE of camelid_ui.tabs"
