"""Services: everything the pages can do, in plain Python, by topic.

Knows how the topics are put together. Knows nothing of gradio: all of it is tested without.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from camelid_core.jobs import JobStore
from camelid_core.jobs.foreground import ensure_worker, open_store
from camelid_core.paths import home as default_home
from camelid_core.plugins import Host, load_host

from camelid_ui.access_profile import LOCAL, Profile

from .chat import ChatService
from .conversation_files import HistoryService
from .data import DataServices
from .exports import ExportService
from .feedback import FeedbackService
from .job_groups import GroupService
from .jobs import JobService
from .machines import MachineService
from .merge import MergeService
from .models import ModelService
from .permissions import enforce
from .plugins import PluginService
from .predictions import PredictionService
from .training import TrainingService


@dataclass(frozen=True)
class Services:
    """One of each, sharing the plugin host and the job table, limited by `profile`."""

    home: Path
    host: Host
    jobs: JobService
    groups: GroupService
    machines: MachineService
    data: DataServices
    models: ModelService
    training: TrainingService
    chat: ChatService
    predictions: PredictionService
    merge: MergeService
    exports: ExportService
    plugins: PluginService
    feedback: FeedbackService = field(default_factory=FeedbackService)
    history: HistoryService = field(default_factory=HistoryService)
    profile: Profile = LOCAL

    def __post_init__(self) -> None:
        enforce(self, self.profile)

    @classmethod
    def open(
        cls,
        home: Path | None = None,
        host: Host | None = None,
        store: JobStore | None = None,
        profile: Profile = LOCAL,
    ) -> Self:
        home = home or default_home()
        host = host or load_host()
        jobs = JobService(store or open_store(home), lambda: ensure_worker(home))
        models = ModelService(host)
        chat = ChatService(models)
        merges = MergeService(models, jobs)
        data = DataServices.open(host, models, home / "under-way")
        return cls(
            home=home,
            host=host,
            jobs=jobs,
            groups=GroupService(jobs),
            machines=MachineService(jobs.store),
            data=data,
            models=models,
            training=TrainingService(host, models, jobs, lambda: chat.status.model_names),
            chat=chat,
            predictions=PredictionService(host, models, jobs),
            merge=merges,
            exports=ExportService(host, models, jobs, merges),
            plugins=PluginService(host),
            profile=profile,
        )
