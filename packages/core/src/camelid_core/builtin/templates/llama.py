"""Llama 2 and 3, Mistral, Gemma.

Sources: the chat templates of meta-llama/Llama-2-7b-chat-hf and Meta-Llama-3-8B-Instruct; Mistral's
"Tokenization: templates" cookbook page and mistral-common; google/gemma-7b-it and gemma-3, which put the
system text into the first user turn. Where a template has no bos at its start, the tokenizer puts it there.
"""

from __future__ import annotations

from dataclasses import replace

from camelid_core.templates.role_template import RoleTemplate
from camelid_core.templates.segments import BOS, EOS

LLAMA_2 = RoleTemplate(
    name="llama-2",
    help="Llama 2 chat: [INST] … [/INST], the system text inside the first turn; every turn begins anew.",
    user="[INST] {content} [/INST]",
    first_user="[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{content} [/INST]",
    assistant="",
    answer_start=" ",
    answer_end=f" {EOS}",
    between=BOS,
    strip=("user", "assistant"),
    stops=("[INST]",),
)

LLAMA_3 = RoleTemplate(
    name="llama-3",
    help="Llama 3: <|start_header_id|>role<|end_header_id|> … <|eot_id|>.",
    system="<|start_header_id|>system<|end_header_id|>\n\n{content}<|eot_id|>",
    user="<|start_header_id|>user<|end_header_id|>\n\n{content}<|eot_id|>",
    assistant="<|start_header_id|>assistant<|end_header_id|>\n\n",
    answer_end="<|eot_id|>",
    strip=True,
    turn_order="any",
    stops=("<|eot_id|>",),
)

MISTRAL = RoleTemplate(
    name="mistral",
    help="Mistral Instruct v0.3, Mixtral 8x22B: [INST] …[/INST], a system text before the first question.",
    user="[INST] {content}[/INST]",
    first_user="[INST] {system}\n\n{content}[/INST]",
    assistant="",
    answer_start=" ",
    stops=("[INST]",),
)

MISTRAL_1 = replace(
    MISTRAL,
    name="mistral-1",
    help="Mistral Instruct v0.1 and v0.2, Mixtral 8x7B: spaces around [INST] and [/INST].",
    user=" [INST] {content} [/INST]",
    first_user=" [INST] {system}\n\n{content} [/INST]",
)

MISTRAL_NEMO = replace(
    MISTRAL,
    name="mistral-nemo",
    help="Mistral Nemo, Pixtral, Ministral (the Tekken tokenizer): no spaces around [INST] and [/INST].",
    user="[INST]{content}[/INST]",
    first_user="[INST]{system}\n\n{content}[/INST]",
    answer_start="",
)

GEMMA = RoleTemplate(
    name="gemma",
    help="Gemma 1 to 3: <start_of_turn>user … model; it has no system role, the text goes before the first question.",
    user="<start_of_turn>user\n{content}<end_of_turn>\n",
    first_user="<start_of_turn>user\n{system}\n\n{content}<end_of_turn>\n",
    assistant="<start_of_turn>model\n",
    answer_end="<end_of_turn>",
    between="\n",
    closing="\n",
    strip=("user", "assistant"),
    stops=("<end_of_turn>",),
)

TEMPLATES = (LLAMA_2, LLAMA_3, MISTRAL, MISTRAL_1, MISTRAL_NEMO, GEMMA)
