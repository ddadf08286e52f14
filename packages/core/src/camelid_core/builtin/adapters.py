"""The model families that come with Camelid."""

from __future__ import annotations

from .families import FAMILIES

ADAPTERS = FAMILIES
