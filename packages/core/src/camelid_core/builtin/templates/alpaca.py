"""Alpaca's instruction form in the variants that are about, and Alpaca-CoT's dialogue form.

Sources: Alpaca-CoT's `uniform_finetune.py`, `utils/prompter` and `eval/`; alpaca-lora's `finetune.py`;
`qlora.py` of artidoro/qlora; `weight_diff.py` of tatsu-lab/stanford_alpaca; the SuperCOT card.
"""

from __future__ import annotations

from dataclasses import replace

from camelid_core.templates.role_template import RoleTemplate
from camelid_core.templates.segments import EOS

from .meta import MOSS_META

_TASK = "Below is an instruction that describes a task"
_RESPOND = "Write a response that appropriately completes the request."
_PLAIN = f"{_TASK}. {_RESPOND}"
_WITH_INPUT = f"{_TASK}, paired with an input that provides further context. {_RESPOND}"

ALPACA = RoleTemplate(
    name="alpaca",
    help="Alpaca-CoT's instruction form; the answer follows '### Response:' after a space.",
    system="{content}\n\n",
    default_system=_PLAIN,
    default_system_with_context=_WITH_INPUT,
    user="### Instruction:\n{content}\n\n",
    user_with_context="### Instruction:\n{content}\n\n### Input:\n{context}\n\n",
    assistant="### Response:",
    answer_start=" ",
    answer_end=f" {EOS}",
    between="\n\n",
    stops=("\n### Instruction:",),
)

NEWLINE = replace(
    ALPACA,
    name="alpaca-newline",
    help="Alpaca with a newline after '### Response:' (alpaca-lora's finetune.py).",
    assistant="### Response:\n",
    answer_start="",
    answer_end=EOS,
)

SUPERCOT = replace(
    NEWLINE,
    name="supercot",
    help="SuperCOT: a newline after '### Response:', and always the preamble that speaks of an input.",
    default_system=_WITH_INPUT,
    default_system_with_context="",
)

SPACE = replace(
    NEWLINE,
    name="alpaca-space",
    help="Alpaca with '### Response: ' (qlora): the prompt itself ends in the space.",
    assistant="### Response: ",
)

CRLF = replace(
    ALPACA,
    name="alpaca-crlf",
    help="Alpaca with Windows line ends, as in Stanford's weight_diff.py; the answer follows at once.",
    system="{content}\r\n\r\n",
    user="### Instruction:\r\n{content}\r\n\r\n",
    user_with_context="### Instruction:\r\n{content}\r\n\r\n### Input:\r\n{context}\r\n\r\n",
    answer_start="",
    answer_end=EOS,
    between="\r\n\r\n",
    stops=("\r\n### Instruction:", "\n### Instruction:"),
)

MMCU = replace(
    ALPACA,
    name="alpaca-mmcu",
    help="Alpaca-CoT's MMCU questions: the preamble that speaks of an input and no Input block; options as input.",
    default_system=_WITH_INPUT,
    default_system_with_context="",
    user="### Instruction:\n请阅读以下选择题并给出正确选项，不要解释原因。\n{content}\n正确答案的序号是：\n\n",
    user_with_context="",
)

MOSS_ALPACA = replace(
    ALPACA,
    name="moss-alpaca",
    help="Alpaca behind MOSS's meta instruction: Alpaca-CoT's form for a MOSS with an adapter.",
    default_system=MOSS_META + _PLAIN,
    default_system_with_context=MOSS_META + _WITH_INPUT,
)

DIALOGUE = RoleTemplate(
    name="alpaca-dialogue",
    help="Alpaca-CoT's many turns: '### Human: … ### Assistant: …'; headers and ends of both sides are trained.",
    system="{content}\n\n",
    default_system=(
        "Below is an multi-round dialogue between human and assistant. Write a response as an assistant that "
        "appropriately completes the human request in each round by incorporating previous context."
    ),
    user="### Human: {content}\n",
    assistant="",
    lead=f"{EOS}### Assistant:",
    answer_start=" ",
    turn_end=f"\n{EOS}",
    stops=("### Human:",),
)

TEMPLATES = (ALPACA, NEWLINE, SUPERCOT, SPACE, CRLF, MMCU, MOSS_ALPACA, DIALOGUE)
