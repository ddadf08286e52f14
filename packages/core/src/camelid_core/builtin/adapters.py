"""The model families that come with Camelid."""

from __future__ import annotations

from camelid_core.models.adapters import ModelAdapter

from .families import FAMILIES

ADAPTERS = FAMILIES
