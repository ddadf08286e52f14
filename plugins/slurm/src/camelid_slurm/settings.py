"""What this plugin can be set up with: where in the cluster attempts run, and what they take of it."""

from __future__ import annotations

from typing import Literal

from camelid_core.config import Config
from camelid_core.plugin_settings import PluginSettings
from pydantic import Field


class SlurmSettings(Config):
    cluster: Literal["slurm", "local"] = "slurm"
    """slurm submits with sbatch; local runs the same on this machine, to try it."""
    partition: str = ""
    """Partition; empty takes the cluster's own default."""
    account: str = ""
    """Account that the time is charged to."""
    qos: str = ""
    """Quality of service."""
    constraint: str = ""
    """Features that a machine must have, as `--constraint` of sbatch."""
    minutes: int = Field(1440, ge=1)
    """Time limit of one attempt in minutes; before it the attempt saves, and the job goes on in another one."""
    warning_seconds: int = Field(120, ge=10)
    """How long before its end, by the time limit or a preemption, an attempt is told to save."""
    cpus: int = Field(4, ge=1)
    """CPU cores of each process of an attempt."""
    gpus: int = Field(0, ge=0)
    """GPUs of each process of an attempt."""
    memory_gb: int = Field(0, ge=0)
    """Memory of an attempt in gigabytes; 0 takes the partition's own default."""
    python: str = ""
    """Python with Camelid on the cluster's machines; empty takes the path of the worker's own."""


SETTINGS = PluginSettings("slurm", SlurmSettings)
