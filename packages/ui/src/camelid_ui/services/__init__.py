"""Everything the pages can do, in plain Python, by topic.

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

from .chat import Chat
from .conversation_files import History
from .data import Data
from .feedback import Feedback
from .jobs import Jobs
from .merge import Merging
from .models import Models
from .permissions import enforce
from .plugins import Plugins
from .predictions import Predictions
from .training import Training


@dataclass(frozen=True)
class Services:
    """One of each, sharing the plugin host and the job table, and doing what `profile` lets them."""

    home: Path
    host: Host
    jobs: Jobs
    data: Data
    models: Models
    training: Training
    chat: Chat
    predictions: Predictions
    merging: Merging
    plugins: Plugins
    feedback: Feedback = field(default_factory=Feedback)
    history: History = field(default_factory=History)
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
        jobs = Jobs(store or open_store(home), lambda: ensure_worker(home))
        models = Models(host)
        chat = Chat(models)
        data = Data.open(host, models, home / "under-way")
        return cls(
            home=home,
            host=host,
            jobs=jobs,
            data=data,
            models=models,
            training=Training(host, models, jobs, lambda: chat.status.held),
            chat=chat,
            predictions=Predictions(host, models, jobs),
            merging=Merging(models, jobs),
            plugins=Plugins(host),
            profile=profile,
        )
