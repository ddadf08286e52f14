"""Test helpers for authors of tabs: their contract, and services in a home of their own. Not imported by the
product."""

from __future__ import annotations

from .tab_contract import assert_tab_contract, open_services

__all__ = ["assert_tab_contract", "open_services"]
