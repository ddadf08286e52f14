"""ChatML and the families that use it with a system text of their own.

Sources: the chat templates of SmolLM2, Qwen/Qwen2-7B-Instruct, Qwen/Qwen2.5-7B-Instruct; internlm2-chat's
`build_inputs`.
"""

from __future__ import annotations

from dataclasses import replace

from camelid_core.templates.role_template import RoleTemplate

from .meta import INTERNLM_META

CHATML = RoleTemplate(
    name="chatml",
    help="<|im_start|>role … <|im_end|>: SmolLM2, Qwen and many others.",
    system="<|im_start|>system\n{content}<|im_end|>\n",
    user="<|im_start|>user\n{content}<|im_end|>\n",
    assistant="<|im_start|>assistant\n",
    answer_end="<|im_end|>",
    between="\n",
    closing="\n",
    turn_order="any",
    stops=("<|im_end|>",),
)

QWEN = replace(
    CHATML,
    name="qwen",
    help="Qwen 2.5: ChatML with its default system text.",
    default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
)

QWEN_2 = replace(
    CHATML,
    name="qwen-2",
    help="Qwen 1.5 and 2: ChatML with their default system text.",
    default_system="You are a helpful assistant.",
)

INTERNLM_2 = replace(
    CHATML, name="internlm-2", help="InternLM 2: ChatML with its meta instruction.", default_system=INTERNLM_META
)

TEMPLATES = (CHATML, QWEN, QWEN_2, INTERNLM_2)
