"""The prompt templates that come with Camelid, byte for byte as their models were trained.

One module per family. Variants that are known to be wrong are there under names of their own, so that
what was made with them can be prompted the way it was made.
"""

from __future__ import annotations

from camelid_core.templates.hf_chat_template import ModelChatTemplate
from camelid_core.templates.template import PromptTemplate

from . import airoboros, alpaca, chatml, glm, human, llama, tagged
from .airoboros import AIROBOROS, VICUNA
from .alpaca import ALPACA, SUPERCOT
from .chatml import CHATML
from .tagged import TULU

TEMPLATES: tuple[PromptTemplate, ...] = (
    ModelChatTemplate(),
    *alpaca.TEMPLATES,
    *airoboros.TEMPLATES,
    *tagged.TEMPLATES,
    *chatml.TEMPLATES,
    *llama.TEMPLATES,
    *glm.TEMPLATES,
    *human.TEMPLATES,
)

__all__ = ["AIROBOROS", "ALPACA", "CHATML", "SUPERCOT", "TEMPLATES", "TULU", "VICUNA"]
