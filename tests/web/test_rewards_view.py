"""What learning from verdicts and rewards shows of itself: charts by subject, alarms, answers, scores."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from studio.workspace import Workspace
from tests.unit.web.jobs_page import write_run

pytestmark = pytest.mark.web

STEPS = 30
HOSTILE = "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>"


@pytest.fixture(scope="module", autouse=True)
def runs(place: Workspace) -> None:
    """Runs as PPO and a reward model leave them."""
    ppo = write_run(place.saves / "tiny/lora/ppo", recipe={"stage": "ppo", "reward_model": "saves/tiny/lora/judge"})
    points = [
        {"step": step, "total_steps": STEPS, "loss": 0.1, "reward": step / 10, "kl": step / 5, "entropy": 2.0,
         "value_loss": 1 / step, "response_length": 8 + step, "generation_s": 1.0, "update_s": 2.0,
         **({"alarm": "kl_blowup, length_hacking"} if step in (20, 22) else {})}
        for step in range(1, STEPS + 1)
    ]  # fmt: skip
    lines = [
        {"step": step, "messages": [{"role": "user", "content": f"{HOSTILE} asked {step}"}], "tokens": 5, "kl": 0.1,
         "answer": f"answer {step} {HOSTILE}" if step > 1 else "long " * 1000, "reward": -step}
        for step in range(1, STEPS + 1)
    ]  # fmt: skip
    (ppo / "progress.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
    (ppo / "rollouts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    judge = write_run(place.saves / "tiny/lora/judge", recipe={"stage": "rm"})
    measured = [{"step": step, "loss": 0.6, "accuracy": 0.7, "margin": 0.1, "eval_accuracy": 0.6} for step in (1, 2)]
    (judge / "progress.jsonl").write_text("".join(json.dumps(point) + "\n" for point in measured))
    side = {"pairs": 40, "margin": 0.5, "edges": [-1, 0, 1], "chosen": [10, 30], "rejected": [25, 15]}
    splits = {
        "eval": {**side, "accuracy": 0.8, "interval": [0.65, 0.9]},
        "harmless": {**side, "accuracy": 0.55, "interval": [0.4, 0.7]},
    }
    (judge / "scores.json").write_text(json.dumps({"splits": splits}))


def opened(page: Any, run: str) -> Any:
    page.evaluate("(hash) => { location.hash = hash; }", f"#jobs/outside:saves/tiny/lora/{run}")
    page.reload()
    view = page.locator("#jobs-opened article.run")
    expect(view.locator("figure.chart").first).to_be_visible()
    return view


def test_charts_stand_by_subject_and_alarms_say_what_to_do(open_page: Callable[..., Any]) -> None:
    page = open_page()
    view = opened(page, "ppo")
    expect(view.locator(".chart-section")).to_have_text(["Reward", "The policy", "Learning", "The machine"])
    expect(view.locator("figure.chart.big")).to_have_attribute("aria-label", f"Reward: 3 at step {STEPS}")
    times = view.locator("figure.chart", has_text="Time of a step")
    expect(times).to_have_attribute("aria-label", re.compile("Writing answers.*Learning from them"))
    alarms = view.locator(".run-alarm")
    expect(alarms).to_have_count(2)
    expect(alarms.first).to_contain_text("The KL runs away 2 times, from step 20 to 22")
    expect(alarms.first.locator("li").nth(1)).to_contain_text("--ppo_kl_coef")
    marked = """async () => {
      const { Curve, charts } = await import(window.studio.script("chart"));
      const curve = new Curve();
      const row = (step, more) => ({ step, reward: step, kl: step, entropy: 1, ...more });
      curve.append([row(1), row(2, { alarm: "kl_blowup" }), row(3)]);
      const chart = charts(curve);
      chart.draw();
      const of = (name) => chart.figures.get(name).marks().map(({ x, text }) => `${x} ${text}`);
      const told = ["reward", "kl", "entropy"].map(of);
      // A resumed run writes its last steps again: what it raised there is gone.
      curve.append([row(2)]);
      told.push(curve.alarms);
      curve.append([row(1)]);
      told.push(curve.alarms);
      chart.destroy();
      return told;
    }"""
    line = ["2 The KL runs away"]
    assert page.evaluate(marked) == [line, line, [], [], []]


def test_answers_are_read_by_reward_and_step_and_stay_text(open_page: Callable[..., Any]) -> None:
    page = open_page()
    answers = opened(page, "ppo").locator(".run-rollouts")
    rows = answers.locator("li.rollout")
    expect(answers.locator(".rollout-where")).to_have_text(f"1 to 6 of {STEPS}")
    expect(rows.first.locator(".rollout-answer")).to_contain_text(f"answer {STEPS} {HOSTILE}")
    answers.locator(".rollout-order").select_option("highest")
    expect(rows.first.locator(".rollout-reward")).to_contain_text("-1")
    text = rows.first.locator(".rollout-answer .rollout-text")
    expect(text).to_have_text(re.compile(r"long\s+…$"))
    rows.first.get_by_role("button", name="Show all of it").click()
    expect(text).not_to_have_text(re.compile("…$"))
    answers.locator(".rollout-after").click()
    expect(rows.first).to_contain_text("step 7")
    answers.locator(".rollout-step").fill("12")
    answers.locator(".rollout-step").press("Enter")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("asked 12")
    answers.locator(".rollout-all").click()
    expect(rows).to_have_count(6)
    assert page.title() == "studio"


def test_a_reward_model_shows_how_it_scores_each_split_and_where_it_proves_nothing(
    open_page: Callable[..., Any],
) -> None:
    page = open_page("zh", 390)
    view = opened(page, "judge")
    scores = view.locator(".run-scores figure")
    expect(scores).to_have_count(2)
    expect(scores.first).to_have_attribute("aria-label", re.compile("验证数据.*80 %.*65 %.*90 %.*40"))
    expect(scores.first.locator("rect")).to_have_count(4)
    expect(scores.nth(1)).to_contain_text("抛硬币")
    expect(view.locator("[data-do=chat]")).to_have_text("用它评分")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
