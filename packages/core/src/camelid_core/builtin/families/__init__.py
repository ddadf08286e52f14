"""The families of causal models that Transformers has natively and people tune, as data.

Each is tried by `tests/test_families.py`: what an adapter says is verified is verified there for all of its model
types, and what it refuses is refused there.
"""

from __future__ import annotations

from .experts import EXPERTS
from .older import OLDER
from .rotary import ROTARY

FAMILIES = (*ROTARY, *EXPERTS, *OLDER)
