"""Templates with a tag before each message: Tulu, Zephyr, Phi-3, DeepSeek, gpt-oss.

Sources: open-instruct's Tulu and the cards of its quantised copies; the chat templates of
HuggingFaceH4/zephyr-7b-beta and microsoft/Phi-3-mini-4k-instruct, deepseek-ai/DeepSeek-R1-Distill-Qwen-32B;
OpenAI's harmony response format.
"""

from __future__ import annotations

from dataclasses import replace

from camelid_core.templates.role_template import RoleTemplate
from camelid_core.templates.segments import EOS

TULU = RoleTemplate(
    name="tulu",
    help="<|user|> and <|assistant|> on lines of their own; exactly one newline after <|assistant|>.",
    system="<|system|>\n{content}\n",
    user="<|user|>\n{content}\n",
    assistant="<|assistant|>\n",
    between="\n",
    strip=True,
    turn_order="any",
    stops=("<|user|>",),
)

TULU_BLANK_LINE = replace(
    TULU,
    name="tulu-blank-line",
    help="Tulu with a blank line after <|assistant|> (the cards' Python sample): not how it was trained.",
    assistant="<|assistant|>\n\n",
)

TULU_NO_NEWLINE = replace(
    TULU,
    name="tulu-no-newline",
    help="Tulu with nothing after <|assistant|> (as the first card shows it): not how it was trained.",
    assistant="<|assistant|>",
)

ZEPHYR = RoleTemplate(
    name="zephyr",
    help="Zephyr: Tulu's tags, and every message ends with the end of sequence.",
    system=f"<|system|>\n{{content}}{EOS}\n",
    user=f"<|user|>\n{{content}}{EOS}\n",
    assistant="<|assistant|>\n",
    between="\n",
    closing="\n",
    turn_order="any",
    stops=("<|user|>",),
)

PHI_3 = RoleTemplate(
    name="phi-3",
    help="Phi-3: <|user|> … <|end|>; the whole text ends with the end of sequence.",
    system="<|system|>\n{content}<|end|>\n",
    user="<|user|>\n{content}<|end|>\n",
    assistant="<|assistant|>\n",
    answer_end="<|end|>",
    between="\n",
    closing=f"\n{EOS}",
    turn_order="any",
    stops=("<|end|>",),
)

DEEPSEEK = RoleTemplate(
    name="deepseek",
    help="DeepSeek V2.5 to R1: <｜User｜>…<｜Assistant｜>…, the system text before them.",
    system="{content}",
    user="<｜User｜>{content}",
    assistant="<｜Assistant｜>",
    stops=("<｜User｜>",),
    turn_order="repeated",
)

GPT_OSS = RoleTemplate(
    name="gpt-oss",
    help="gpt-oss (harmony): every answer in the final channel, without its thinking and without today's date.",
    start=(
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\n\nReasoning: medium\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    ),
    system="<|start|>developer<|message|># Instructions\n\n{content}\n\n<|end|>",
    user="<|start|>user<|message|>{content}<|end|>",
    assistant="<|start|>assistant",
    answer_start="<|channel|>final<|message|>",
    answer_end="<|return|>",
    turn_end="<|end|>",
    stops=("<|return|>", "<|end|>"),
    turn_order="repeated",
)

TEMPLATES = (TULU, TULU_BLANK_LINE, TULU_NO_NEWLINE, ZEPHYR, PHI_3, DEEPSEEK, GPT_OSS)
