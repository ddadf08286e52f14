"""BELLE (BLOOM), MOSS, InternLM and Baichuan.

Sources: the card and sample code of BelleGroup/BELLE-7B-2M; OpenMOSS/MOSS's README; `build_inputs` of
internlm-chat-7b and lagent's meta template for its version 1.1; `generation_utils.py` of Baichuan-13B-Chat
and Baichuan2-13B-Chat.
"""

from __future__ import annotations

from dataclasses import replace

from camelid_core.templates.role_template import RoleTemplate

from .meta import MOSS_META

BELLE = RoleTemplate(
    name="belle",
    help="BELLE on BLOOM, as its sample code writes it: 'Human: …', a blank line, 'Assistant:'.",
    system="{content}\n\n",
    user="Human: {content}\n\n",
    assistant="Assistant:",
    answer_start=" ",
    between="\n\n",
    strip=("user",),
    stops=("\nHuman:",),
)

BELLE_CARD = replace(
    BELLE,
    name="belle-card",
    help="BELLE as its card's prose shows it: a space before the line ends.",
    user="Human: {content} \n\n",
)

MOSS = RoleTemplate(
    name="moss",
    help="MOSS: its meta instruction, then <|Human|>: …<eoh> and <|MOSS|>: …<eom>.",
    system="{content}",
    default_system=MOSS_META,
    user="<|Human|>: {content}<eoh>\n",
    assistant="<|MOSS|>:",
    answer_start=" ",
    answer_end="<eom>",
    between="\n",
    closing="\n",
    stops=("<eom>",),
)

INTERNLM = RoleTemplate(
    name="internlm",
    help="InternLM chat 7B: <|User|>:…<eoh> and <|Bot|>:…<eoa>.",
    user="<|User|>:{content}<eoh>\n",
    assistant="<|Bot|>:",
    answer_end="<eoa>",
    between="\n",
    closing="\n",
    stops=("<eoa>",),
)

INTERNLM_1_1 = replace(
    INTERNLM,
    name="internlm-1.1",
    help="InternLM chat 7B 1.1 and 20B: <|User|>:… without its end, and a place for a system text.",
    system="<|System|>:{content}\n",
    user="<|User|>:{content}\n",
)

BAICHUAN = RoleTemplate(
    name="baichuan",
    help="Baichuan chat: reserved tokens 102 and 103 before question and answer.",
    user="<reserved_102>{content}",
    assistant="<reserved_103>",
    turn_end="",
    stops=("<reserved_102>",),
)

BAICHUAN_2 = replace(
    BAICHUAN,
    name="baichuan-2",
    help="Baichuan 2 chat: reserved tokens 106 and 107, the system text before them.",
    system="{content}",
    user="<reserved_106>{content}",
    assistant="<reserved_107>",
    stops=("<reserved_106>",),
)

TEMPLATES = (BELLE, BELLE_CARD, MOSS, INTERNLM, INTERNLM_1_1, BAICHUAN, BAICHUAN_2)
