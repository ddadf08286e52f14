"""Conversations with real models in a real engine's process: cut off and continued, compared, exchanged, killed."""

from __future__ import annotations

import os
import signal
import time

import pytest
from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
from camelid_core.testing import tiny_model
from camelid_serve.engine import Sampling
from camelid_ui.conversation_tree import ConversationTree
from camelid_ui.services import Services


def bring(services: Services, name: str, beside: str = "") -> None:
    services.chat.load(name, beside)
    until = time.monotonic() + 240
    while services.chat.status.state == "loading":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not services.chat.status.error


def answered(
    services: Services, tree: ConversationTree, names: tuple[str, ...], tokens: int, begun: bool = False
) -> ConversationTree:
    columns = tree.continuations(names) if begun else tree.answer_requests(names)
    *_, answers = services.chat.ask("page", columns, Sampling(max_new_tokens=tokens))
    return tree.with_answers(dict(zip([column.model for column in columns], answers, strict=True)))


@pytest.fixture
def real_adapter(services, tiny):
    """An adapter that changes the answers, and beside it a model of another family."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    shape = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    directory = services.home / "artefacts" / "tuned"
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny), shape).save_pretrained(directory)
    write_manifest(directory, Manifest(kind="adapter", base=BaseModelEntry(id="tiny", path=str(tiny))))
    tiny_model(services.home / "models" / "other", "gpt_neox")
    yield directory.name
    services.chat.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_answers_of_two_go_on_where_they_were_cut(services, real_adapter):
    bring(services, real_adapter)
    sides = ("tiny", real_adapter)
    asked = ConversationTree().with_question("What is 2 + 3?", "Be brief.")
    whole = answered(services, asked, sides, 20)
    cut = answered(services, asked, sides, 7)
    gone_on = answered(services, ConversationTree.from_json(cut.to_json()), sides, 13, begun=True)
    for name in sides:
        assert gone_on.last.answers[name].ids == whole.last.answers[name].ids
        assert gone_on.last.answers[name].text == whole.last.answers[name].text
        assert gone_on.last.answers[name].stats.tokens == 20
    assert whole.last.answers["tiny"].text != whole.last.answers[real_adapter].text
    room = services.chat.context_length(real_adapter)
    used = services.models.count_tokens(real_adapter, asked.messages(real_adapter), room)
    assert used == whole.last.answers[real_adapter].stats.prompt_tokens

    edited = whole.with_edited_answer(0, real_adapter, "Let me think.")
    thought = answered(services, edited, (real_adapter,), 8, begun=True).last.answers[real_adapter]
    assert thought.text.startswith("Let me think.")
    assert thought.edited

    bring(services, real_adapter, "other")
    both = answered(services, asked, ("other", real_adapter), 7)
    assert both.last.answers[real_adapter].text == cut.last.answers[real_adapter].text
    assert both.last.answers["other"].stats.tokens > 0

    os.kill(services.chat._engine._child.pid, signal.SIGKILL)
    until = time.monotonic() + 240
    while services.chat.status.state == "ready":
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "load it again" in services.chat.status.error
