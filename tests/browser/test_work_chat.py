"""The Chat page's conversation: answers stream, and whatever is done with them, nothing said is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from camelid_core.testing import tiny_model
from playwright.sync_api import Page, Request, Route, expect

pytestmark = pytest.mark.timeout(1800)  # whole flows, each in one go

NARROW = {"width": 375, "height": 812}
EVIL = (
    "<svg onload=\"document.title='taken'\"></svg><script>document.title='taken'</script> {{7*7}} ${7*7} @children "
    "<a href=\"javascript:document.title='taken'\">x</a> [x](javascript:document.title='taken') ![x](http://x.test/x)"
)


@pytest.fixture(scope="module", autouse=True)
def models(home: Path) -> None:
    """An adapter on the tiny model, and a model of another family."""
    import torch
    from camelid_core.artefacts import BaseModelEntry, Manifest, write_manifest
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    base, directory = home / "models" / "tiny", home / "artefacts" / "sharper"
    shape = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), shape).save_pretrained(directory)
    write_manifest(directory, Manifest(kind="adapter", base=BaseModelEntry(id="tiny", path=str(base))))
    tiny_model(home / "models" / "pythia", "gpt_neox")


def pick(page: Page, ident: str, name: str) -> None:
    page.locator(f"#{ident} input").click(timeout=300_000)
    page.get_by_role("option", name=name, exact=True).first.click()


def short(page: Page, tokens: str) -> None:
    """Answers of so many tokens."""
    page.locator(".camelid-aside .camelid-drawer > button").first.click()
    page.locator("#sampling-max_new_tokens input").fill(tokens)
    page.keyboard.press("Tab")


def load(page: Page, name: str) -> None:
    expect(page.locator("#chat-model input")).not_to_have_value("")  # what is there has been looked up
    pick(page, "chat-model", name)
    page.locator("#chat-load").click()
    expect(page.locator("#chat-status .camelid-state.succeeded")).to_contain_text(f"{name} is ready", timeout=300_000)


def ask(page: Page, text: str, count: int, side: str = "tuned") -> None:
    page.locator("#chat-message textarea").fill(text)
    page.keyboard.press("Enter")
    settled(page, count, side)


def settled(page: Page, count: int, side: str = "tuned") -> None:
    """The page shows so many answers, and another can be asked for."""
    expect(page.locator(f"#chat-{side} .bot small")).to_have_count(count, timeout=300_000)
    expect(page.locator("#chat-send")).to_be_enabled(timeout=300_000)


_SOONEST = """async field => {
  document.querySelector('.camelid-aside .camelid-drawer > button').click();
  const line = new MessageChannel();
  const soon = () => new Promise(on => { line.port1.onmessage = on; line.port2.postMessage(0); });
  let found;
  while (!(found = document.querySelector(field))?.checkVisibility({visibilityProperty: true})) await soon();
  found.value = '6';
  found.dispatchEvent(new InputEvent('input', {bubbles: true}));
}"""


def test_what_is_written_as_soon_as_a_drawer_opens_stays_written(eyes):
    page = eyes.open("?tab=chat")
    field = page.locator("#sampling-max_new_tokens input")
    page.evaluate(_SOONEST, "#sampling-max_new_tokens input")
    expect(field).to_have_value("6")
    page.wait_for_timeout(1000)  # when Gradio puts it back, it has done so
    expect(field).to_have_value("6")


@pytest.fixture
def damaged(home: Path) -> Iterator[str]:
    """A model whose weights were cut short."""
    directory = Path(shutil.copytree(home / "models" / "tiny", home / "models" / "damaged"))
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    yield directory.name
    shutil.rmtree(directory)


def _unload(server) -> None:
    """End the process of the loaded model: what is loaded next takes a while."""
    for each in psutil.Process(server.process.pid).children(recursive=True):
        if any("engine_process" in part for part in each.cmdline()):
            each.kill()
            each.wait()


def test_the_first_message_loads_the_chosen_model_and_is_never_lost(eyes, server, damaged):
    page, other = eyes.open("?tab=chat"), eyes.open("?tab=chat")
    box, status, notice = (page.locator(each) for each in ("#chat-message textarea", "#chat-status", "#chat-notice"))
    _unload(server)
    for each, name in ((page, "pythia"), (other, "tiny")):
        expect(each.locator("#chat-model input")).not_to_have_value("")
        pick(each, "chat-model", name)
    short(page, "6")
    box.fill("What is 2 + 3?")
    box.press("Enter")
    expect(status).to_contain_text("Loading pythia")
    expect(page.locator("#chat-tuned .user .content")).to_have_text("What is 2 + 3?")
    expect(page.locator("#chat-load")).to_be_disabled()
    expect(box).to_have_value("")
    eyes.shoot(page, "chat-loading-wide")
    other.locator("#chat-message textarea").fill("And 4 + 4?")
    other.keyboard.press("Enter")
    expect(other.locator("#chat-notice")).to_contain_text("'pythia' is being loaded; wait for it.")
    expect(other.locator("#chat-message textarea")).to_have_value("And 4 + 4?")
    expect(other.locator("#chat-tuned article")).to_have_count(0)

    box.fill("Thank you.")
    page.locator("#chat-stop").click()
    expect(notice).to_contain_text("stopped before an answer began")
    expect(box).to_have_value("What is 2 + 3?\n\nThank you.")
    expect(page.locator("#chat-tuned article")).to_have_count(0)
    expect(page.locator("#chat-history li")).to_have_count(0)
    page.locator("#chat-send").click()  # loading went on
    settled(page, 1)
    expect(status).to_contain_text("pythia is ready")

    pick(page, "chat-model", damaged)
    box.fill("And 4 + 4?")
    page.locator("#chat-send").click()
    expect(notice).to_contain_text("'damaged' could not be loaded: 'model.safetensors' has", timeout=300_000)
    expect(box).to_have_value("And 4 + 4?")
    expect(page.locator("#chat-tuned article.user")).to_have_count(1)
    page.set_viewport_size(NARROW)
    pick(page, "chat-model", "pythia")
    _unload(server)
    page.locator("#chat-send").click()
    expect(status).to_contain_text("Loading pythia")
    eyes.shoot(page, "chat-loading-narrow")
    settled(page, 2)


def test_a_conversation_is_tried_edited_gone_on_with_undone_and_branched(eyes):
    page = eyes.open("?tab=chat")
    expect(page.locator("#chat-tuned")).to_contain_text("Choose a model")
    load(page, "sharper")
    short(page, "6")
    ask(page, EVIL, 1)
    said, footer = page.locator("#chat-tuned .bot .content"), page.locator("#chat-tuned .bot small")
    expect(page.locator("#chat-tuned .user .content")).to_have_text(EVIL)
    assert page.title() == "Camelid"
    assert page.locator("#chat-tuned :is([onload], script, img, [href^=javascript])").count() == 0
    expect(page.locator("#chat-context")).to_contain_text("of 512 tokens of context length")

    expect(footer).to_contain_text("6 tokens")
    begun = said.inner_text()
    page.locator("#chat-continue-answer").click()
    expect(footer).to_contain_text("12 tokens")
    assert said.inner_text().startswith(begun)
    page.locator("#chat-tuned [data-set=retry]").click()
    which = page.locator("#chat-tuned .which")
    expect(which).to_have_text("2/2")
    page.locator("#chat-tuned .flip button").first.click()
    expect(which).to_have_text("1/2")
    expect(footer).to_contain_text("12 tokens")

    page.locator("#chat-tuned .bot [data-edit]").click()
    page.locator("#chat-tuned .bot textarea").fill("Let me think. ")
    page.keyboard.press("Control+Enter")
    expect(which).to_have_text("3/3")
    page.locator("#chat-tuned .user [data-edit]").click()
    page.locator("#chat-tuned .user textarea").fill("What is 2 + 3?")
    page.locator("#chat-tuned [data-set=continue]").click()
    expect(footer).to_contain_text("6 tokens")
    settled(page, 1)
    expect(footer).to_contain_text("edited")
    expect(said).to_contain_text("Let me think.")
    expect(page.locator("#chat-tuned .user textarea")).to_have_value("What is 2 + 3?")  # redrawn around it
    page.locator("#chat-tuned .user [data-save]").click()
    expect(which).to_have_text("4/4")
    settled(page, 1)

    page.locator("#chat-tuned [data-set=exact]").click()
    expect(page.locator("#chat-exact-tokens .tok").first).to_be_visible()
    expect(page.locator("#chat-exact-tokens")).to_contain_text("Prompt 1 as sharper receives it")
    ask(page, "And 4 + 4?", 2)
    eyes.shoot(page, "chat-done-wide")
    page.locator("#chat-undo").click()
    expect(page.locator("#chat-message textarea")).to_have_value("And 4 + 4?")
    settled(page, 1)
    page.locator("#chat-tuned [data-set=redo]").click()
    settled(page, 2)
    page.locator("#chat-tuned [data-set=branch]").first.click()
    settled(page, 1)
    expect(page.locator("#chat-notice")).to_contain_text("a copy of the conversation")
    page.locator("#chat-message textarea").fill("word " * 600)
    expect(page.locator("#chat-context")).to_contain_text("the context length of this model is 512")
    expect(page.locator("#chat-send")).to_be_disabled()
    page.locator("#chat-clear").click()
    expect(page.locator("#chat-tuned article")).to_have_count(0)


def test_two_models_answer_side_by_side_and_one_is_stopped(eyes):
    page = eyes.open("?tab=chat")
    load(page, "sharper")  # nothing to do where it is resident already
    short(page, "6")
    page.locator("#chat-compare input").check()
    expect(page.locator("#chat-base-name")).to_contain_text("tiny")
    expect(page.locator("#chat-base")).to_be_visible()
    ask(page, "What is 2 + 3?", 1, "base")
    settled(page, 1)
    pick(page, "chat-other-model", "pythia")
    expect(page.locator("#chat-status")).to_contain_text("sharper + pythia is ready", timeout=300_000)
    expect(page.locator("#chat-base-name")).to_contain_text("pythia")
    ask(page, "And 4 + 4?", 2, "base")
    settled(page, 2)
    expect(page.locator("#chat-base .by")).to_have_text(["tiny said:"])
    page.locator("#chat-base [data-set=better]").last.click()
    expect(page.locator("#chat-base .thumb[aria-pressed=true]")).to_have_count(1)
    expect(page.locator("#chat-tuned .thumb.down[aria-pressed=true]")).to_have_count(1)
    eyes.shoot(page, "chat-compare-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "chat-compare-narrow")

    other = eyes.open("?tab=chat")
    other.route("**/queue/join*", _late_for("talker"))
    with other.expect_response(lambda answer: _loads(answer.request, "talker"), timeout=300_000):
        load(other, "talker")
    other.wait_for_timeout(500)  # the page has taken it in
    expect(page.locator("#chat-status")).to_contain_text("talker is ready")  # the other page's doing
    short(other, "30000")
    other.locator("#chat-message textarea").fill("Tell me a long story.")
    other.keyboard.press("Enter")
    expect(other.locator("#chat-stop")).to_be_enabled()
    expect(other.locator("#chat-tuned .bot .content")).not_to_have_text("")
    other.locator("#chat-message textarea").fill("And then?")
    other.keyboard.press("Enter")  # too early, which is said, and nothing is lost
    expect(other.locator("#chat-notice")).to_contain_text("An answer is being generated")
    expect(other.locator("#chat-message textarea")).to_have_value("And then?")
    other.locator("#chat-stop").click()
    expect(other.locator("#chat-tuned .bot small")).to_contain_text("stopped")
    expect(other.locator("#chat-send")).to_be_enabled()


def _joins(request: Request) -> bool:
    """Whether this asks something of a page's handlers."""
    return "/queue/join" in request.url


def _loads(request: Request, name: str) -> bool:
    """Whether this is the click on Load with `name` chosen."""
    return _joins(request) and request.post_data_json["data"][:1] == [name]


def _late_for(name: str) -> Callable[[Route], None]:
    """Lets the answer to whoever loads `name` come only after a look that was asked for later."""

    def handle(route: Route) -> None:
        if not _loads(route.request, name):
            route.continue_()
            return
        answer = route.fetch()
        page = route.request.frame.page
        with page.expect_response(lambda other: _joins(other.request) and not _loads(other.request, name)):
            pass
        route.fulfill(response=answer)

    return handle


def test_sampling_settings_appear_with_the_temperature_that_they_need(eyes):
    """With what a preset gave them: they are drawn for the first time then."""
    page = eyes.open("?tab=chat")
    expect(page.locator("#chat-model input")).not_to_have_value("")
    page.locator(".camelid-aside .camelid-drawer > button").first.click()
    temperature, top_p, seed = (page.locator(f"#sampling-{name} input") for name in ("temperature", "top_p", "seed"))
    expect(temperature).to_be_visible()
    expect(top_p).to_be_hidden()
    expect(seed).to_be_hidden()
    pick(page, "chat-preset", "firefly")
    expect(seed).to_be_visible()
    expect(top_p).to_have_value("0.85")
    temperature.fill("0")
    page.keyboard.press("Tab")
    expect(seed).to_be_hidden()
    expect(top_p).to_have_value("0.85")  # it is not the default: what is in force is seen
    top_p.fill("1")
    page.keyboard.press("Tab")
    expect(top_p).to_be_hidden()


def test_chat_in_the_dark_and_in_chinese(eyes):
    page = eyes.open("?tab=chat", color_scheme="dark", locale="zh-CN")
    expect(page.locator("#chat-status")).to_contain_text("已就绪")
    expect(page.locator("#chat-tuned")).to_contain_text("选择模型后即可提问")
    eyes.shoot(page, "chat-chinese-dark-wide")
