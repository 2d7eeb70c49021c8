"""The training form says a command, keystroke by keystroke, and nothing in it is without effect."""

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.command import read_recipe, to_argv
from studio.recipe import STAGES
from studio.web.schema import OWN, schema
from studio.workspace import Workspace
from tests.web.form import choose, choose_dataset, choose_model, command, field, ready

pytestmark = pytest.mark.web


def shown_words(page: Any) -> list[str]:
    """The words of the command on one line, behind what is set in front of it."""
    page.locator("#train-lines").uncheck()
    expect(command(page)).not_to_contain_text("\\\n")
    words = shlex.split(command(page).inner_text())
    return words[words.index("studio") :]


def test_the_command_follows_what_is_typed_and_start_waits_for_a_complete_form(open_page: Callable[..., Any]) -> None:
    page = open_page()
    expect(page.locator("#train-needed")).to_contain_text("Choose a model above.")
    expect(page.locator("#train-start")).to_be_disabled()
    ready(page)
    expect(command(page)).to_contain_text(re.compile(r"--output_dir saves/tiny-chat/lora/train_\d{4}-"))
    field(page, "learning_rate").fill("1e-4")
    expect(command(page)).to_contain_text("--learning_rate 0.0001")
    field(page, "learning_rate").press("Backspace")
    expect(page.locator("#train-complaints")).to_contain_text("--learning_rate 1e-: must be a number")
    expect(page.locator("#train-learning_rate .studio-complaint")).to_be_visible()
    field(page, "learning_rate").fill("")
    expect(command(page)).not_to_contain_text("--learning_rate")
    page.fill("#train-name", "first")
    expect(page.locator("#train-folder")).to_have_text("saves/tiny-chat/lora/first")
    expect(page.locator("#train-start")).to_be_enabled()


# What a person would set, in one go: values by the ids of fields of ours, with the events of a keyboard or a mouse.
FILL = """(fields) => {
  const missing = [];
  for (const each of fields) {
    const input = document.getElementById(`train-${each.name}`);
    if (!input) { missing.push(each.name); continue; }
    if (input.type === 'checkbox') { input.click(); continue; }
    if (input.tagName === 'SELECT') {
      const others = [...input.options].map((one) => one.value).filter((one) => one && one !== String(each.default));
      input.value = others.at(-1) ?? '';
    } else {
      const [value, other] = { int: ['3', '4'], float: ['0.25', '0.5'], object: ['{"a": 1}'] }[each.kind] ?? ['x'];
      input.value = String(each.default) === value ? other : value;
    }
    input.dispatchEvent(new Event('input', { bubbles: true }));
    input.dispatchEvent(new Event('change', { bubbles: true }));
  }
  return missing;
}"""


def test_every_field_changes_the_command(open_page: Callable[..., Any]) -> None:
    page = open_page()
    expect(command(page)).to_contain_text("studio train")
    arguments = schema("train")["arguments"]
    # An argument with one choice only has nothing to be changed to.
    ours = [each for each in arguments if each["part"] == "group" and len(each["choices"]) != 1]
    for method in ("lora", "freeze"):
        choose(page, "finetuning_type", method)
        used = [each for each in ours if not each["methods"] or method in each["methods"]]
        used = [each for each in used if not each["stages"] or "sft" in each["stages"]]
        assert page.evaluate(FILL, used) == []
        expect(command(page)).to_contain_text("--ddp_timeout")
        names = {each["name"] for each in used}
        assert names <= said(page), names - said(page)
        page.click("#train-reset")
        expect(command(page)).not_to_contain_text("--ddp_timeout")
    for stage in STAGES:
        own = [each for each in ours if each["group"] in OWN and stage in each["stages"]]
        if own:
            page.locator("#train-stage").select_option(stage)
            assert page.evaluate(FILL, own) == []
            for each in own:
                expect(command(page)).to_contain_text(f"--{each['name']}")
            page.click("#train-reset")
            expect(command(page)).not_to_contain_text(f"--{own[0]['name']} ")
    basic = [each for each in arguments if each["part"] in ("top", "train")]
    # Last of all, because others are out of sight under another method.
    basic.sort(key=lambda each: each["name"] == "finetuning_type")
    for each in basic:
        change_basic(page, each)
    expect(command(page)).to_contain_text("--finetuning_type")
    # A base in few bits and a rank are LoRA's own.
    expected = {each["name"] for each in basic} - {"quantization_bit", "lora_rank"}
    assert expected <= said(page), expected - said(page)


def said(page: Any) -> set[str]:
    return set(re.findall(r"--(\w+)", command(page).inner_text()))


def change_basic(page: Any, argument: dict[str, Any]) -> None:
    """Set a field of Gradio to something else, and see it in the command."""
    name, kind = argument["name"], argument["kind"]
    one = field(page, name)
    if name == "finetuning_type":
        choose(page, name, "full")
    elif kind == "bool" and not argument["optional"]:
        one.click()
    elif kind in ("bool", "choice") or name in ("quantization_bit", "template"):
        word = {"bool": "Yes", "choice": (argument["choices"] or [""])[-1]}.get(kind, "")
        choose(page, name, {"quantization_bit": "8", "template": "chatml"}.get(name, word))
    else:
        one.fill("x" if kind in ("names", "text") else "7")
    expect(command(page)).to_contain_text(f"--{name}")


BROUGHT = r"""CUDA_VISIBLE_DEVICES=0 llamafactory-cli train \
    --stage sft --model_name_or_path models/tiny-chat \
    --dataset tiny_sft,tiny_share   --finetuning_type lora
    --lora_rank 16 --bf16 False --warmup_ratio 0.1
"""


def test_a_pasted_command_fills_the_form(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.click("#train-paste")
    page.fill("#paste-text", BROUGHT)
    expect(page.locator("#paste-told")).to_contain_text("--warmup_ratio 0.1 is read as --warmup_steps 0.1")
    page.click("#paste-fill")
    expect(field(page, "lora_rank")).to_have_value("16")
    expect(field(page, "warmup_steps")).to_have_value("0.1")
    expect(page.locator("#train-dataset-field .studio-chip")).to_have_count(2)
    expect(page.locator("#top-model_name_or_path")).to_have_value("models/tiny-chat")
    expect(command(page)).to_contain_text("--bf16 False")
    expect(page.locator("#train-start")).to_be_enabled()


def test_a_saved_form_comes_back_and_a_reload_loses_nothing(open_page: Callable[..., Any], place: Workspace) -> None:
    page = open_page()
    choose_model(page)
    field(page, "num_train_epochs").fill("7")
    page.locator("#group-lora summary").click()
    expect(page.locator("#train-lora_alpha")).to_have_attribute("placeholder", "16, twice the rank")
    page.fill("#train-lora_alpha", "64")
    expect(command(page)).to_contain_text("--lora_alpha 64")
    page.click("#train-forms")
    page.fill("#forms-name", "half filled")
    page.click("#forms-save")
    expect(page.locator("#forms-list")).to_contain_text("half filled")
    page.keyboard.press("Escape")

    page.reload()
    expect(field(page, "num_train_epochs")).to_have_value("7")
    expect(command(page)).to_contain_text("--lora_alpha 64")
    page.click("#train-reset")
    expect(field(page, "num_train_epochs")).to_have_value("3")
    expect(command(page)).not_to_contain_text("--lora_alpha")

    kept = place.root / ".studio" / "forms" / "half filled.json"
    stored = json.loads(kept.read_text())
    kept.write_text(json.dumps({**stored, "values": {**stored["values"], "no_longer_known": 1}}))
    page.click("#train-forms")
    page.locator("#forms-list button").first.click()
    expect(field(page, "num_train_epochs")).to_have_value("7")
    expect(page.locator("#studio-toasts")).to_contain_text("no_longer_known")


def test_groups_are_searched_and_hide_what_the_method_does_not_use(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.fill("#train-search", "weight decay")
    expect(page.locator("#train-weight_decay")).to_be_visible()
    expect(page.locator("#train-adam_beta1")).to_be_hidden()
    page.fill("#train-weight_decay", "0.1")
    page.fill("#train-search", "")
    page.check("#train-changed-only")
    expect(page.locator(".studio-group:visible")).to_have_count(1)
    expect(page.locator("#group-training .studio-count")).to_have_text("1 changed")
    page.uncheck("#train-changed-only")
    choose(page, "finetuning_type", "freeze")
    expect(page.locator("#group-lora")).to_be_hidden()
    expect(page.locator("#group-freeze")).to_be_visible()
    expect(page.locator("#train-lora_rank")).to_be_hidden()


def test_the_form_in_chinese(open_page: Callable[..., Any]) -> None:
    page = open_page("zh", 390)
    expect(page.get_by_label("训练阶段")).to_be_visible()
    expect(page.locator("#train-learning_rate")).to_contain_text("学习率")
    expect(page.locator("#train-needed")).to_contain_text("请选择数据集。")
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_wrong_and_odd_values_leave_the_form_usable(open_page: Callable[..., Any], place: Workspace) -> None:
    page = open_page()
    ready(page)
    choose_dataset(page, "not_registered")
    expect(page.locator("#train-complaints")).to_contain_text("no dataset is named 'not_registered'")
    expect(page.locator("#train-start")).to_be_disabled()
    page.get_by_role("button", name="Remove not_registered").click()
    expect(page.locator("#train-start")).to_be_enabled()

    page.fill("#train-search", "trust")
    page.check("#train-trust_remote_code")
    expect(page.locator("#train-complaints")).to_contain_text("this studio runs no code of models")
    page.uncheck("#train-trust_remote_code")
    expect(page.locator("#train-start")).to_be_enabled()

    page.fill("#train-extra_arguments", '{"dataloader_pin_memory": false, "not_an_argument": 1}')
    expect(page.locator("#train-complaints")).to_contain_text("--not_an_argument: there is no such argument")
    page.fill("#train-extra_arguments", '{"dataloader_pin_memory": false}')
    expect(command(page)).to_contain_text("--dataloader_pin_memory False")

    page.fill("#train-name", "with blanks 'and' quotes")
    page.fill("#train-search", "kwargs")
    page.fill("#train-lr_scheduler_kwargs", '{"min_lr": 1e-6, "a b": "$HOME; `x` \'y\'"}')
    page.fill("#train-search", "default_system")
    page.fill("#train-default_system", "You are $USER; say \"no\" & 'yes' — 好")
    # The answer to the last keystroke, not to one before it.
    expect(command(page)).to_contain_text("--default_system")
    expect(page.locator("#train-start")).to_be_enabled()
    words = shown_words(page)
    recipe, _ = read_recipe(words[2:], place.root)
    assert recipe.flat()["lr_scheduler_kwargs"] == {"min_lr": 1e-6, "a b": "$HOME; `x` 'y'"}
    assert recipe.template.default_system == "You are $USER; say \"no\" & 'yes' — 好"
    assert recipe.training.output_dir == "saves/tiny-chat/lora/with blanks 'and' quotes"
    assert ["studio", "train", *to_argv(recipe)] == words


NEWEST_JOB = """async () => {
  const all = await (await fetch('/api/jobs')).json();
  return (await fetch(`/api/jobs/${all.jobs[0].id}`)).json();
}"""


def test_start_runs_what_is_shown(open_page: Callable[..., Any]) -> None:
    page = open_page()
    ready(page)
    field(page, "seed").fill("7")
    expect(command(page)).to_contain_text("--seed 7")
    words = shown_words(page)
    page.click("#train-start")
    expect(page.locator("#train-started")).to_contain_text(re.compile(r"Job \d+|Waiting"))
    job = page.evaluate(NEWEST_JOB)
    assert ["studio", *job["argv"]] == words
    # The next run of the form gets a name of its own.
    expect(page.locator("#train-folder")).not_to_have_text(words[words.index("--output_dir") + 1])
    expect(page.locator("#train-start")).to_be_enabled()
    page.evaluate(f"fetch('/api/jobs/{job['id']}/kill', {{ method: 'POST' }})")


def test_the_beginning_of_a_dataset_and_enter_choose_it_from_a_list_that_nothing_shines_through(
    open_page: Callable[..., Any],
) -> None:
    page = open_page()
    page.locator("#train-dataset").click()
    options = page.locator("#train-dataset-options")
    expect(options.locator("li").first).to_be_visible()
    topmost = """list => {
      const box = list.getBoundingClientRect();
      return [...document.querySelectorAll("#train-form [data-testid=block-info]")].every((label) => {
        const { left, top, height } = label.getBoundingClientRect();
        const x = left + 3, y = top + height / 2;
        const beneath = x > box.left && x < box.right && y > box.top && y < box.bottom;
        return !beneath || list.contains(document.elementFromPoint(x, y));
      });
    }"""
    assert options.evaluate(topmost)
    page.fill("#train-dataset", "tiny_sf")
    expect(options.locator("li")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#train-dataset-field .studio-chip")).to_contain_text("tiny_sft")


def test_a_run_name_that_would_say_nothing_is_closed_and_says_why(open_page: Callable[..., Any]) -> None:
    page = open_page()
    expect(page.locator("#train-name")).to_be_enabled()
    page.click("#train-paste")
    page.locator("dialog textarea").fill("studio train --stage sft --output_dir saves/mine")
    page.click("#paste-fill")
    expect(page.locator("#train-folder")).to_have_text("saves/mine")
    expect(page.locator("#train-name")).to_be_disabled()
    expect(page.locator("#train-folder-given")).to_contain_text("--output_dir")


def test_who_moves_by_the_keyboard_goes_from_a_list_to_the_next_field_and_saves_a_form_with_enter(
    open_page: Callable[..., Any],
) -> None:
    page = open_page()
    page.locator("#top-model_name_or_path").click()
    expect(page.locator("#top-model_name_or_path-options li").first).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.locator("#top-adapter_name_or_path")).to_be_focused()
    page.click("#train-forms")
    page.locator("dialog input").fill("by keyboard")
    page.keyboard.press("Enter")
    expect(page.locator("dialog [data-form='by keyboard']")).to_be_visible()
