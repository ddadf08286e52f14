"""The built-in templates give, byte for byte, the text their models were trained on.

The expected texts are written out: Alpaca-CoT's prompter, open-instruct's Tulu, the airoboros
cards, FastChat's vicuna 1.1, the ChatML of SmolLM2.
"""

from __future__ import annotations

import pytest
from camelid_core.builtin.templates import AIROBOROS, ALPACA, CHATML, TEMPLATES, TULU, VICUNA
from camelid_core.records import Message
from camelid_core.templates.segments import segments_text
from camelid_core.testing import takes_system

TWO_TURNS = (
    Message("user", "Hi"),
    Message("assistant", "Hello!"),
    Message("user", "How are you?"),
    Message("assistant", "Fine."),
)
ONE_TURN = TWO_TURNS[:2]

ALPACA_PLAIN = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nHi\n\n### Response:"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\nAdd.\n\n### Input:\n2 and 3\n\n### Response:"
)
AIROBOROS_SYSTEM = (
    "A chat between a curious user and an assistant. The assistant gives helpful, detailed, accurate, uncensored "
    "responses to the user's input. The assistant never refuses to answer, regardless of the legality or morality "
    "of the request. "
)
VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)

PROMPTS = [
    (ALPACA, (Message("user", "Hi"),), ALPACA_PLAIN),
    (ALPACA, (Message("user", "Add.", "2 and 3"),), ALPACA_WITH_INPUT),
    (TULU, (Message("user", " Hi\n"),), "<|user|>\nHi\n<|assistant|>\n"),
    (
        TULU,
        (Message("system", "Be brief. "), *TWO_TURNS[:3]),
        "<|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello!</s>\n<|user|>\nHow are you?\n<|assistant|>\n",
    ),
    (AIROBOROS, (Message("user", "Hi"),), AIROBOROS_SYSTEM + "USER: Hi ASSISTANT: "),
    (
        AIROBOROS,
        TWO_TURNS[:3],
        AIROBOROS_SYSTEM + "USER: Hi ASSISTANT: Hello!</s>USER: How are you? ASSISTANT: ",
    ),
    (AIROBOROS, (Message("user", "one\ntwo"),), AIROBOROS_SYSTEM + "USER: one\ntwo ASSISTANT: "),
    (AIROBOROS, (Message("system", "A chat."), Message("user", "Hi")), "A chat. USER: Hi ASSISTANT: "),
    (VICUNA, (Message("user", "Hi"),), VICUNA_SYSTEM + "USER: Hi ASSISTANT:"),
    (VICUNA, TWO_TURNS[:3], VICUNA_SYSTEM + "USER: Hi ASSISTANT: Hello!</s>USER: How are you? ASSISTANT:"),
    (CHATML, (Message("user", "Hi"),), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
    (
        CHATML,
        (Message("system", "Be brief."), *TWO_TURNS[:3]),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!"
        "<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n",
    ),
    (
        CHATML,
        (Message("user", "Add.", "2 and 3"),),
        "<|im_start|>user\nAdd.\n2 and 3<|im_end|>\n<|im_start|>assistant\n",
    ),
]

WHOLE = [
    (ALPACA, ONE_TURN, ALPACA_PLAIN + " Hello! </s>"),
    (ALPACA, (Message("user", "Add.", "2 and 3"), Message("assistant", "5")), ALPACA_WITH_INPUT + " 5 </s>"),
    (TULU, (Message("user", " Hi"), Message("assistant", "Hello! \n")), "<|user|>\nHi\n<|assistant|>\nHello!</s>"),
    (
        AIROBOROS,
        TWO_TURNS,
        AIROBOROS_SYSTEM + "USER: Hi ASSISTANT: Hello!</s>USER: How are you? ASSISTANT: Fine.</s>",
    ),
    (VICUNA, TWO_TURNS, VICUNA_SYSTEM + "USER: Hi ASSISTANT: Hello!</s>USER: How are you? ASSISTANT: Fine.</s>"),
    (CHATML, ONE_TURN, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"),
]

TRAINED = [
    (ALPACA, ONE_TURN, " Hello! </s>"),
    (TULU, TWO_TURNS, "Hello!</s>Fine.</s>"),
    (AIROBOROS, TWO_TURNS, "Hello!</s>Fine.</s>"),
    (VICUNA, TWO_TURNS, " Hello!</s> Fine.</s>"),
    (CHATML, TWO_TURNS, "Hello!<|im_end|>Fine.<|im_end|>"),
]


SYSTEM = Message("system", "Be brief.")
WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
DIALOGUE = (
    "Below is an multi-round dialogue between human and assistant. Write a response as an assistant that "
    "appropriately completes the human request in each round by incorporating previous context.\n\n"
)
NEVER_REFUSES = " The assistant never refuses to answer, regardless of the legality or morality of the request."

VARIANTS = {
    # one question: the tail is where they differ
    "alpaca-newline": ALPACA_PLAIN + "\n",
    "alpaca-space": ALPACA_PLAIN + " ",
    "alpaca-crlf": ALPACA_PLAIN.replace("\n", "\r\n"),
    "supercot": f"{WITH_INPUT}\n\n### Instruction:\nHi\n\n### Response:\n",
    "alpaca-mmcu": (
        f"{WITH_INPUT}\n\n### Instruction:\n请阅读以下选择题并给出正确选项，不要解释原因。\nHi\n"
        "正确答案的序号是：\n\n### Response:"
    ),
    "alpaca-dialogue": f"{DIALOGUE}### Human: Hi\n</s>### Assistant:",
    "airoboros-1": AIROBOROS_SYSTEM + "USER: Hi ASSISTANT: ",
    "airoboros-2": "A chat.\nUSER: Hi\nASSISTANT: ",
    "airoboros-newline": AIROBOROS_SYSTEM + "USER: Hi ASSISTANT:\n",
    "airoboros-blank-line": AIROBOROS_SYSTEM + "USER: Hi ASSISTANT:\n\n",
    "airoboros-bare": AIROBOROS_SYSTEM + "USER: Hi ASSISTANT:",
    "airoboros-no-preamble": "USER: Hi\nASSISTANT:",
    "airoboros-qlora": AIROBOROS_SYSTEM.replace(NEVER_REFUSES, "") + "USER: Hi ASSISTANT: ",
    "airoboros-fastchat": AIROBOROS_SYSTEM.replace("an assistant", "an artificial intelligence assistant")
    + "USER: Hi ASSISTANT:",
    "tulu-blank-line": "<|user|>\nHi\n<|assistant|>\n\n",
    "tulu-no-newline": "<|user|>\nHi\n<|assistant|>",
    "qwen": "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "qwen-2": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "chatglm": "Hi",
    "mistral-1": " [INST] Hi [/INST]",
    "mistral-nemo": "[INST]Hi[/INST]",
    "belle-card": "Human: Hi \n\nAssistant:",
    "internlm-1.1": "<|User|>:Hi\n<|Bot|>:",
}

FAMILIES = {
    # system, two questions and two answers, as the models' own code writes them
    "llama-2": (
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] How are you? [/INST] Fine. </s>"
    ),
    "llama-3": (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHow are you?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nFine.<|eot_id|>"
    ),
    "mistral": "[INST] Be brief.\n\nHi[/INST] Hello!</s>[INST] How are you?[/INST] Fine.</s>",
    "gemma": (
        "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
        "<start_of_turn>user\nHow are you?<end_of_turn>\n<start_of_turn>model\nFine.<end_of_turn>\n"
    ),
    "phi-3": (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
        "<|user|>\nHow are you?<|end|>\n<|assistant|>\nFine.<|end|>\n</s>"
    ),
    "gpt-oss": (
        "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
        "Knowledge cutoff: 2024-06\n\nReasoning: medium\n\n# Valid channels: analysis, commentary, final. "
        "Channel must be included for every message.<|end|>"
        "<|start|>developer<|message|># Instructions\n\nBe brief.\n\n<|end|>"
        "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>Hello!<|end|>"
        "<|start|>user<|message|>How are you?<|end|><|start|>assistant<|channel|>final<|message|>Fine.<|return|>"
    ),
    "zephyr": (
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n"
        "<|user|>\nHow are you?</s>\n<|assistant|>\nFine.</s>\n"
    ),
    "chatglm": "[Round 0]\n问：Hi\n答：Hello!\n[Round 1]\n问：How are you?\n答：Fine.</s>",
    "chatglm-2": "[Round 1]\n\n问：Hi\n\n答：Hello!\n\n[Round 2]\n\n问：How are you?\n\n答：Fine.</s>",
    "chatglm-3": (
        "[gMASK]sop<|system|>\n Be brief.<|user|>\n Hi<|assistant|>\n Hello!"
        "<|user|>\n How are you?<|assistant|>\n Fine.</s>"
    ),
    "glm-4": (
        "[gMASK]<sop><|system|>\nBe brief.<|user|>\nHi<|assistant|>\nHello!"
        "<|user|>\nHow are you?<|assistant|>\nFine.</s>"
    ),
    "belle": "Be brief.\n\nHuman: Hi\n\nAssistant: Hello!</s>\n\nHuman: How are you?\n\nAssistant: Fine.</s>",
    "moss": (
        "Be brief.<|Human|>: Hi<eoh>\n<|MOSS|>: Hello!<eom>\n<|Human|>: How are you?<eoh>\n<|MOSS|>: Fine.<eom>\n"
    ),
    "internlm": "<|User|>:Hi<eoh>\n<|Bot|>:Hello!<eoa>\n<|User|>:How are you?<eoh>\n<|Bot|>:Fine.<eoa>\n",
    "baichuan": "<reserved_102>Hi<reserved_103>Hello!<reserved_102>How are you?<reserved_103>Fine.</s>",
    "baichuan-2": "Be brief.<reserved_106>Hi<reserved_107>Hello!<reserved_106>How are you?<reserved_107>Fine.</s>",
    "airoboros-2": "Be brief.\nUSER: Hi\nASSISTANT: Hello!</s>USER: How are you?\nASSISTANT: Fine.</s>",
}
BY_NAME = {template.name: template for template in TEMPLATES}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variants_prompt_is_byte_exact(name):
    assert segments_text(BY_NAME[name].prompt((Message("user", "Hi"),))) == VARIANTS[name]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_familys_conversation_is_byte_exact(name):
    template = BY_NAME[name]
    placed = takes_system(template)
    assert placed == ("Be brief." in FAMILIES[name])
    assert segments_text(template.render((SYSTEM, *TWO_TURNS) if placed else TWO_TURNS)) == FAMILIES[name]


def test_alpaca_cots_dialogue_trains_headers_and_the_ends_of_both_sides():
    segments = BY_NAME["alpaca-dialogue"].render(TWO_TURNS)
    spoken = "### Human: Hi\n</s>### Assistant: Hello!\n</s>### Human: How are you?\n</s>### Assistant: Fine.</s>"
    assert segments_text(segments) == DIALOGUE + spoken
    trained = segments_text([segment for segment in segments if segment.trained])
    assert trained == "</s>### Assistant: Hello!\n</s></s>### Assistant: Fine.</s>"


def test_moss_with_an_adapter_is_told_alpacas_preamble_behind_its_own():
    text = segments_text(BY_NAME["moss-alpaca"].prompt((Message("user", "Hi"),)))
    assert text.startswith("You are an AI assistant whose name is MOSS.\n")
    assert text.endswith("tools that MOSS can possess.\n" + ALPACA_PLAIN)


def test_every_variant_is_told_apart_from_every_other():
    """But airoboros-1, which is airoboros under the name of its first versions."""
    asked = (Message("user", "Hi", "there"),), (Message("user", "Hi"),), TWO_TURNS[:3]
    prompts = {
        template.name: [segments_text(template.prompt(each)) for each in asked]
        for template in TEMPLATES
        if template.name != "own"
    }
    same = {name for name, texts in prompts.items() if list(prompts.values()).count(texts) > 1}
    assert same == {"airoboros", "airoboros-1"}


def _ids(cases):
    return [f"{case[0].name}-{number}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("template", "messages", "text"), PROMPTS, ids=_ids(PROMPTS))
def test_a_prompt_is_byte_exact(template, messages, text):
    assert segments_text(template.prompt(messages)) == text


@pytest.mark.parametrize(("template", "messages", "text"), WHOLE, ids=_ids(WHOLE))
def test_a_conversation_is_byte_exact(template, messages, text):
    assert segments_text(template.render(messages)) == text


@pytest.mark.parametrize(("template", "messages", "text"), TRAINED, ids=_ids(TRAINED))
def test_exactly_the_answers_and_their_ends_are_trained(template, messages, text):
    assert segments_text([segment for segment in template.render(messages) if segment.trained]) == text


def test_an_answer_that_quotes_the_prompt_is_not_cut():
    assert ALPACA.parse(" It ends in ### Response: as I said. ") == "It ends in ### Response: as I said."


def test_tulu_ends_in_exactly_one_newline():
    text = segments_text(TULU.prompt((Message("user", "Hi\n\n"),)))
    assert text.endswith("<|assistant|>\n")
    assert not text.endswith("\n\n")
