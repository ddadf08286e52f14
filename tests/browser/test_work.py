"""The whole way through the pages, as a person goes: data, training, merging, predicting, chatting.

Each test goes on from what the ones before it made; they run in order.
"""

from __future__ import annotations

import json
import re
import time

import pytest
from camelid_core.jobs.foreground import open_store
from playwright.sync_api import Page, expect

NARROW = {"width": 375, "height": 812}
OURS = ("data", "train", "chat", "predict", "merge", "jobs", "plugins")
TRACEBACK = re.compile('Traceback|File "/')


def go(page: Page, tab: str) -> None:
    page.locator(f"#tab-{tab}-button").click()
    expect(page.locator(f"#tab-{tab}")).to_be_visible()


def choose(page: Page, ident: str, value: str) -> None:
    """Type into a dropdown and take what it offers."""
    box = page.locator(f"#{ident} input")
    box.click()
    box.fill(value)
    page.get_by_role("option", name=value, exact=True).first.click()


def fill(page: Page, ident: str, value: str) -> None:
    page.locator(f"#{ident} input, #{ident} textarea").first.fill(value)
    page.keyboard.press("Tab")


def open_drawer(page: Page, tab: str) -> None:
    page.locator(f"#tab-{tab} .camelid-drawer > button").first.click()


@pytest.mark.parametrize("tab", OURS)
def test_a_first_run_shows_what_to_do_next(eyes, tab):
    page = eyes.open(f"?tab={tab}")
    expect(page.locator(f"#tab-{tab}")).to_be_visible()
    expect(page.locator(f"#tab-{tab}-button")).to_have_attribute("aria-selected", "true")
    first = {"data": "#data-lints .camelid-good", "train": "#train-estimate dd",
             "predict": "#predict-preview .camelid-empty",
             "merge": "#merge-estimate .camelid-empty", "jobs": "#jobs-list .camelid-empty",
             "plugins": "#plugins-list td", "chat": "#chat-status .camelid-note"}  # fmt: skip
    expect(page.locator(first[tab]).first).to_be_visible()
    eyes.shoot(page, f"{tab}-empty-wide")
    page.set_viewport_size(NARROW)
    eyes.shoot(page, f"{tab}-empty-narrow")


def test_data_shows_a_row_as_the_model_sees_it(eyes):
    page = eyes.open("?tab=data&data=cot-arithmetic-en")
    expect(page.locator("#data-head h2")).to_have_text("cot-arithmetic-en")
    page.locator("#data-rows tr[data-key='2']").click()
    expect(page.locator("#data-rows tr.chosen td").first).to_have_text("3")
    expect(page.locator("#data-tokens .tok.trained").first).to_be_visible()
    expect(page.locator("#data-tokens .camelid-legend")).to_contain_text("trained")
    assert "data=cot-arithmetic-en" in page.url
    assert "row=2" in page.url
    page = eyes.open(f"?{page.url.partition('?')[2]}")  # another browser shows the same
    expect(page.locator("#data-rows tr.chosen td").first).to_have_text("3")
    page.locator("#data-search input, #data-search textarea").first.fill("arithmetic zh")
    expect(page.locator("#data-list li")).to_have_count(3)  # Chinese alone, in both languages, and preferences


def test_a_wrong_setting_is_marked_where_it_is(eyes):
    page = eyes.open("?tab=train")
    expect(page.locator("#train-estimate dd").first).to_be_visible()
    open_drawer(page, "train")
    fill(page, "train-data-cutoff", "3")
    expect(page.locator("#train-data-cutoff")).to_have_class(re.compile("camelid-invalid"))
    expect(page.locator("#train-data-cutoff")).to_contain_text("greater than or equal to 16")
    expect(page.locator("#train-start")).to_be_disabled()
    expect(page.locator("body")).not_to_contain_text(TRACEBACK)
    eyes.shoot(page, "train-failed-wide")
    fill(page, "train-data-cutoff", "128")
    expect(page.locator("#train-start")).to_be_enabled()
    expect(page.locator("#train-command code")).to_contain_text("data.cutoff=128")
    page.locator("#find-train input").fill("learning")
    expect(page.locator("#train-train-learning_rate")).to_be_visible()
    expect(page.locator("#train-train-seed")).to_be_hidden()


def test_a_method_is_chosen_and_only_its_knobs_are_shown(eyes):
    page = eyes.open("?tab=train")
    expect(page.locator("#train-card-method-shown")).to_contain_text("lora")
    expect(page.locator("#train-method-type")).to_be_hidden()
    page.locator("#train-card-method-change").click()
    open_drawer(page, "train")
    expect(page.locator("#train-method-r")).to_be_visible()
    choose(page, "train-method-type", "ia3")
    expect(page.locator("#train-method-targets-ia3")).to_be_visible()
    expect(page.locator("#train-method-r")).to_be_hidden()
    fill(page, "train-method-targets-ia3", "v_proj")
    expect(page.locator("#train-command code")).to_contain_text("method.type=ia3 'method.targets=[")
    expect(page.locator("#train-card-method-shown")).to_contain_text("targets v_proj")
    eyes.shoot(page, "train-method-wide")
    page.set_viewport_size(NARROW)
    eyes.shoot(page, "train-method-narrow")


def test_a_run_is_started_watched_left_and_found_again(eyes):
    page = eyes.open("?tab=train")
    expect(page.locator("#train-estimate dd").first).to_be_visible()
    fill(page, "train-run-name", "first")
    fill(page, "train-train-max_steps", "60")
    expect(page.locator("#train-command code")).to_contain_text("train.max_steps=60")
    eyes.shoot(page, "train-chosen-wide")
    page.locator("#train-start").click()
    expect(page.locator("#run-progress .camelid-bar")).to_be_visible(timeout=300_000)
    expect(page.locator("#run-progress")).to_contain_text("/ 60 steps")
    expect(page.locator("#run-finish")).to_be_visible()
    eyes.shoot(page, "train-running-wide")
    where = page.url
    page.close()

    found = eyes.open(f"?{where.partition('?')[2]}")
    expect(found.locator("#run .camelid-state.succeeded")).to_be_visible(timeout=300_000)
    expect(found.locator("#run-head h2")).to_have_text("first")
    expect(found.locator("#run-result")).to_contain_text("Held-out loss after")
    expect(found.locator("#run-plots figure")).to_have_count(4)
    expect(found.locator("#run-answers article").first).to_contain_text("Before")
    found.locator("#run-plots .area").first.hover()
    expect(found.locator("#run-plots output").first).to_contain_text("training, smoothed")
    eyes.shoot(found, "train-done-wide")
    found.set_viewport_size(NARROW)
    eyes.shoot(found, "train-done-narrow")
    with found.expect_download() as download:
        found.locator("#run-about .camelid-download").click()
    assert download.value.suggested_filename == "first.zip"


def test_a_run_that_cannot_go_on_says_why(eyes):
    page = eyes.open("?tab=train")
    expect(page.locator("#train-estimate dd").first).to_be_visible()
    open_drawer(page, "train")
    fill(page, "train-data-cutoff", "16")
    page.locator("#train-start").click()
    expect(page.locator("#run .camelid-state.failed")).to_be_visible(timeout=300_000)
    expect(page.locator("#run-progress .camelid-error")).to_contain_text("cutoff")
    expect(page.locator("#run-retry")).to_be_visible()
    expect(page.locator("body")).not_to_contain_text(TRACEBACK)
    eyes.shoot(page, "train-run-failed-wide")


def test_a_run_is_stopped_early_and_keeps_its_result(eyes):
    page = eyes.open("?tab=train")
    expect(page.locator("#train-estimate dd").first).to_be_visible()
    fill(page, "train-run-name", "early")
    fill(page, "train-train-max_steps", "5000")
    expect(page.locator("#train-command code")).to_contain_text("5000")
    page.locator("#train-start").click()
    expect(page.locator("#run-progress")).to_contain_text("/ 5", timeout=300_000)
    other = eyes.open("?tab=train", size=NARROW)
    expect(other.locator("#train-estimate")).to_contain_text("Jobs running: 1")
    expect(other.locator("#train-runs tr[data-key='3']")).to_contain_text("Running")
    eyes.shoot(other, "train-other-narrow")
    page.locator("#run-finish").click()
    expect(page.locator("#run .camelid-state.succeeded")).to_be_visible(timeout=300_000)
    expect(page.locator("#run-chat")).to_be_visible()


def test_runs_are_found_compared_cloned_and_deleted(eyes):
    page = eyes.open("?tab=train")
    expect(page.locator("#train-runs tbody tr")).to_have_count(3)
    for run in ("1", "3"):
        page.locator(f"#train-runs input[value='{run}']").click()
        expect(page.locator(f"#train-runs input[value='{run}']")).to_be_checked()
    expect(page.locator("#compare-shown figure")).to_have_count(2)
    expect(page.locator("#compare-shown table")).to_contain_text("train.max_steps")
    expect(page.locator("#train-form")).to_be_hidden()
    eyes.shoot(page, "train-compare-wide")
    assert "compare=1%2C3" in page.url
    other = eyes.open(f"?{page.url.partition('?')[2]}", size=NARROW, color_scheme="dark")  # another browser, the same
    expect(other.locator("#compare-shown figure")).to_have_count(2)
    expect(other.locator("#train-form")).to_be_hidden()
    eyes.shoot(other, "train-compare-narrow")

    page.locator("#compare-close").click()
    page.locator("#train-runs tr[data-key='1'] a").click()
    page.locator("#run-again").click()
    expect(page.locator("#train-command code")).to_contain_text("train.max_steps=60")
    choose(page, "runs-state", "Failed")
    expect(page.locator("#train-runs tbody tr")).to_have_count(1)
    page.locator("#train-runs tr[data-key='2'] a").click()
    expect(page.locator("#run .camelid-state.failed")).to_be_visible()  # which closes what was asked of the other one
    page.locator("#run-delete").click()
    eyes.shoot(page, "train-delete-wide")
    page.locator("#run-delete-yes").click()
    expect(page.locator("#train-runs")).to_contain_text("No matching runs.")
    expect(page.locator("#train-form")).to_be_visible()


def test_the_adapter_is_merged(eyes, server):
    page = eyes.open("?tab=merge")
    choose(page, "merge-adapter", "first")
    expect(page.locator("#merge-estimate")).to_contain_text("Size of the result")
    expect(page.locator("#merge-command code")).to_contain_text("camelid merge first")
    page.locator("#merge-start").click()
    expect(page.locator("#merge-job .camelid-state.succeeded")).to_be_visible(timeout=300_000)
    expect(page.locator("#merge-job-body")).to_contain_text("AutoModelForCausalLM.from_pretrained")
    eyes.shoot(page, "merge-done-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "merge-done-narrow")


def test_what_was_trained_is_exported_proved_and_published_in_one_visit(eyes, server):
    page = eyes.open("?tab=merge")
    choose(page, "export-source", "first")
    expect(page.locator("#export-offers")).to_contain_text("q4_k_m")
    for name in ("bitsandbytes · nf4", "gguf · q8_0"):
        page.get_by_label(name, exact=True).check()
    expect(page.locator("#export-command code")).to_contain_text("camelid export first --to gguf quantization=q8_0")
    eyes.shoot(page, "export-chosen-wide")
    page.locator("#export-start").click()
    row = page.locator("#merge-list tr", has_text="first-q8_0")
    expect(row).to_contain_text("Done")
    row.locator("a").click()
    expect(page.locator("#merge-job-head")).to_contain_text("first-q8_0")
    expect(page.locator("#merge-job-body")).to_contain_text("camelid chat")

    page.locator("#export-publish > button").click()
    expect(page.locator("#publish-to textarea, #publish-to input").first).to_have_value(re.compile("hub$"))
    fill(page, "publish-name", "me/first")
    page.locator("#publish-look").click()
    expect(page.locator("#publish-plan")).to_contain_text("not proved")
    expect(page.locator("#publish-plan h1")).to_contain_text("GGUF")
    eyes.shoot(page, "export-publish-wide")
    page.locator("#publish-start").click()
    expect(page.locator("#merge-job-head")).to_contain_text("first-publish")
    expect(page.locator("#merge-job .camelid-state.succeeded")).to_be_visible()
    expect(page.locator("#merge-job-body")).to_contain_text("me/first")

    page.locator("#merge-list tr", has_text="first-q8_0").locator("a").click()
    expect(page.locator("#merge-job-head")).to_contain_text("first-q8_0")
    page.locator("#export-prove").click()
    expect(page.locator("#merge-job-head")).to_contain_text("first-q8_0-proof")
    expect(page.locator("#merge-job-body table")).to_contain_text("mean KL divergence per token")
    eyes.shoot(page, "export-proof-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "export-proof-narrow")


def test_a_file_is_predicted_and_downloaded(eyes, questions):
    page = eyes.open("?tab=predict")
    page.locator("#predict-file input[type=file]").set_input_files(str(questions))
    expect(page.locator("#predict-preview .camelid-tokens")).to_have_count(3)
    choose(page, "predict-model", "first")
    open_drawer(page, "predict")
    fill(page, "predict-sampling-max_new_tokens", "8")
    expect(page.locator("#predict-command code")).to_contain_text("sampling.max_new_tokens=8")
    eyes.shoot(page, "predict-chosen-wide")
    page.locator("#predict-start").click()
    expect(page.locator("#predict-job .camelid-state.succeeded")).to_be_visible(timeout=300_000)
    expect(page.locator("#predict-rows tbody tr")).to_have_count(12)
    eyes.shoot(page, "predict-done-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "predict-done-narrow")
    with page.expect_download() as download:
        page.locator("#predict-job-body .camelid-download").click()
    rows = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert len(rows) == 12
    assert {"instruction", "generate"} <= set(rows[0])


def test_jobs_list_everything_with_log_and_events(eyes):
    page = eyes.open("?tab=jobs")
    expect(page.locator("#jobs-list tbody tr")).to_have_count(8)
    page.locator("#jobs-list tbody tr").last.click()
    expect(page.locator("#job-head h2")).to_contain_text("first")
    expect(page.locator("#job-body")).to_contain_text("Events")
    expect(page.locator("#job-log pre")).to_have_text(re.compile(r"\S"))
    assert "job=1" in page.url
    eyes.shoot(page, "jobs-done-wide")
    page.set_viewport_size(NARROW)
    page.wait_for_timeout(400)
    eyes.shoot(page, "jobs-done-narrow")
    missing = eyes.open("?tab=jobs&job=99")
    expect(missing.locator("#job-head .camelid-error")).to_contain_text("There is no job 99")


def test_waiting_jobs_are_moved_and_ends_are_told(eyes, server):
    """By keyboard, and at the width of a phone; to a browser that was here before, and to one that is."""
    store, later = open_store(server.home), time.time() + 86400
    missed, *waiting = (
        store.submit("merge", {"adapter": name}, name, key=f"pipeline:night/{name}:{name}", earliest=later)
        for name in ("missed", "one", "two", "three")
    )
    store.request(missed.id, "cancel")
    visited = {
        "origin": server.url.partition("/?")[0],
        "localStorage": [{"name": "camelid.jobs.visited", "value": "1"}],
    }
    page = eyes.open("?tab=jobs", permissions=["notifications"], storage_state={"origins": [visited]})
    expect(page.locator(".camelid-away")).to_contain_text("missed")
    rows = page.locator("#jobs-list .waiting tbody tr")
    expect(rows.nth(2)).to_contain_text("three")
    page.get_by_label(re.compile("Begin earlier: .*three")).focus()
    page.keyboard.press("Enter")
    expect(rows.nth(1)).to_contain_text("three")
    page.keyboard.press("Enter")  # it still has the focus
    expect(rows.nth(0)).to_contain_text("three")
    expect(page.locator("#jobs-groups")).to_contain_text("night")
    expect(page.locator("#jobs-machines tbody tr")).to_have_count(1)
    eyes.shoot(page, "jobs-waiting-wide")
    page.set_viewport_size(NARROW)
    page.get_by_label(re.compile("Begin later: .*three")).click()
    expect(rows.nth(1)).to_contain_text("three")
    eyes.shoot(page, "jobs-waiting-narrow")

    page.locator("[data-away-seen]").click()
    expect(page.locator(".camelid-away")).to_be_hidden()
    page.evaluate("""() => { window.told = []; window.Notification = class {
      static permission = 'granted'; static requestPermission() { return Promise.resolve('granted'); }
      constructor(title) { window.told.push(title); } }; }""")
    page.locator("#jobs-notify").click()
    expect(page.locator("#jobs-notify")).to_have_attribute("aria-pressed", "true")
    page.evaluate("() => camelid.jobs.tell()")
    store.request(waiting[0].id, "cancel")
    page.evaluate("() => camelid.jobs.tell()")
    assert page.evaluate("() => told") == ["one: stopped"]
    page.locator("#jobs-find input, #jobs-find textarea").first.fill("two")
    expect(page.locator("#jobs-list tbody tr")).to_have_count(1)
    page.locator("#jobs-list tbody a").first.click()
    expect(page.locator("#job-head h2")).to_contain_text("two")
    page.locator("#job-pause").click()
    expect(page.locator("#job .camelid-state.paused")).to_be_visible()
    expect(page.locator("#job-retry")).to_have_text("Resume")
    store.request(waiting[2].id, "cancel")


def test_a_running_counter_leads_to_jobs(eyes):
    page = eyes.open("?tab=data")
    page.locator(".camelid-header .running").click()
    expect(page.locator("#tab-jobs")).to_be_visible()
    assert "tab=jobs" in page.url


def test_dark_and_chinese(eyes):
    page = eyes.open("?tab=train", color_scheme="dark")
    expect(page.locator("#train-estimate dd").first).to_be_visible()
    eyes.shoot(page, "train-dark-wide")
    chinese = eyes.open("?tab=train", locale="zh-CN")
    expect(chinese.locator("#tab-train-button")).to_have_text("训练")
    expect(chinese.locator("#train-estimate")).to_contain_text("步数")
    expect(chinese.locator("#train-train-epochs")).to_contain_text("轮数")
    eyes.shoot(chinese, "train-chinese-wide")


def test_the_keyboard_alone_gets_through(eyes):
    page = eyes.open("?tab=jobs")
    expect(page.locator("#jobs-list tbody tr").first).to_be_visible()
    link = page.locator("#jobs-list tbody a").first
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#job-head h2")).to_be_visible()
