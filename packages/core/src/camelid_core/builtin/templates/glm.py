"""ChatGLM 1 to 3 and GLM-4. The model's end of sequence ends the last answer; earlier ones end where a turn begins.

Sources: `chat` of THUDM/chatglm-6b, `build_prompt` of chatglm2-6b's tokenizer, the chat templates of
chatglm3-6b and glm-4-9b-chat. The first two leave [gMASK] and sop to the tokenizer.
"""

from __future__ import annotations

from camelid_core.templates.role_template import RoleTemplate

CHATGLM = RoleTemplate(
    name="chatglm",
    help="ChatGLM-6B: a lone question as it is, else '[Round 0]' and 问/答 for each.",
    user="[Round {round}]\n问：{content}\n答：",
    only_user="{content}",
    first_round=0,
    assistant="",
    turn_end="",
    between="\n",
    stops=("\n[Round ",),
)

CHATGLM_2 = RoleTemplate(
    name="chatglm-2",
    help="ChatGLM2-6B: '[Round 1]' and 问/答 with blank lines between.",
    user="[Round {round}]\n\n问：{content}\n\n答：",
    assistant="",
    turn_end="",
    between="\n\n",
    stops=("\n\n[Round ",),
)

CHATGLM_3 = RoleTemplate(
    name="chatglm-3",
    help="ChatGLM3-6B: <|user|> and <|assistant|>, a newline and a space before each message.",
    start="[gMASK]sop",
    system="<|system|>\n {content}",
    user="<|user|>\n {content}",
    assistant="<|assistant|>",
    answer_start="\n ",
    turn_end="",
    turn_order="any",
    stops=("<|user|>", "<|observation|>"),
)

GLM_4 = RoleTemplate(
    name="glm-4",
    help="GLM-4: <|user|> and <|assistant|>, a newline before each message.",
    start="[gMASK]<sop>",
    system="<|system|>\n{content}",
    user="<|user|>\n{content}",
    assistant="<|assistant|>",
    answer_start="\n",
    turn_end="",
    turn_order="any",
    stops=("<|user|>", "<|observation|>"),
)

TEMPLATES = (CHATGLM, CHATGLM_2, CHATGLM_3, GLM_4)
