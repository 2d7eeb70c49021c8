"""The Export tab: pick, see what it costs, start, watch, read the report."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect
from safetensors.numpy import save_file

from studio.model.weights import tensors
from studio.workspace import Workspace
from tests.web.conftest import Running

pytestmark = pytest.mark.web

RUN = "saves/tiny/lora/first"
LONG_MS = 90_000


@pytest.fixture(autouse=True)
def adapter(place: Workspace) -> None:
    """A LoRA run on models/tiny."""
    folder = place.root / RUN
    folder.mkdir(parents=True, exist_ok=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": "models/tiny", "r": 1, "lora_alpha": 1,
              "target_modules": ["q_proj"]}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    stem = "base_model.model.model.layers.0.self_attn.q_proj"
    halves = {"A": np.full((1, 32), 0.1, "float32"), "B": np.full((32, 1), 0.1, "float32")}
    named = {f"{stem}.lora_{half}.weight": values for half, values in halves.items()}
    save_file(named, str(folder / "adapter_model.safetensors"))


def opened(page: Any) -> Any:
    """The Export tab of a page, with the run picked."""
    # On a phone its button stands in the menu of what does not fit.
    page.evaluate("() => { location.hash = 'export' }")
    page.locator("#export-pick").select_option(RUN)
    expect(page.locator("#export-start")).to_be_enabled()
    return page


def test_an_export_runs_and_its_report_says_what_the_merge_did(open_page: Callable[..., Any], studio: Running) -> None:
    page = opened(open_page("en"))
    expect(page.locator("#export-export_dir")).to_have_value("tiny-first")
    expect(page.locator("#export-full")).to_contain_text(str(studio.place.root / "models" / "tiny-first"))
    expect(page.locator("#export-facts")).to_contain_text(f"{RUN} goes into models/tiny")
    page.locator("#export-infer_dtype").select_option("bfloat16")
    expect(page.locator("#export-facts")).to_contain_text("as bfloat16")
    page.locator("#export-start").click()
    report = page.locator(".export-report")
    expect(report).to_contain_text("Every tensor was read back", timeout=LONG_MS)
    expect(report).to_contain_text("The merge moved 1,024 weights in 1 tensors, by at most 0.01")
    assert tensors(studio.place.models / "tiny-first")
    page.reload()
    expect(page.locator(".export-report")).to_contain_text("models/tiny-first")
    page.locator("#export-train").click()
    expect(page.locator("#top-model_name_or_path")).to_have_value("models/tiny-first")


def test_every_control_changes_the_command(open_page: Callable[..., Any]) -> None:
    page = opened(open_page("zh"))
    shell = page.locator("#export-shell")
    page.locator("#export-more").evaluate("each => { each.open = true; }")
    texts = {"adapter_name_or_path": "saves/x", "export_size": "0.5", "template": "chatml", "export_dir": "other",
             "default_system": "Be brief.", "model_revision": "v2", "cache_dir": "cache"}  # fmt: skip
    for name, text in texts.items():
        page.locator(f"#export-{name}").fill(text)
        expect(shell).to_contain_text(f"--{name} ")
    for name in ("overwrite_export_dir", "trust_remote_code", "convert_pickle"):
        page.locator(f"#export-{name}").check()
        expect(shell).to_contain_text(f"--{name} True")
    page.locator("#export-infer_dtype").select_option("float16")
    page.locator("#export-enable_thinking").select_option("True")
    expect(shell).to_contain_text("--infer_dtype float16")
    expect(shell).to_contain_text("--enable_thinking True")
    expect(page.locator("#export-start")).to_be_disabled()
    assert page.locator("#export-start").get_attribute("title")


def test_a_folder_that_stands_at_the_target_is_told_before_the_start(open_page: Callable[..., Any]) -> None:
    page = opened(open_page("en", 390))
    page.locator("#export-export_dir").fill("tiny-chat")
    expect(page.locator("#export-export_dir-complaint")).to_contain_text("exists already")
    expect(page.locator("#export-start")).to_be_disabled()
    page.locator("#export-overwrite_export_dir").check()
    expect(page.locator("#export-full")).to_contain_text("tiny-chat.old-")
    expect(page.locator("#export-start")).to_be_enabled()
