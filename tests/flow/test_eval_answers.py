"""`studio eval answers`, `text` and `pairs`: models beside their base, and what is kept and told."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.evaluate.intervals import share
from studio.workspace import Workspace
from tests.fidelity.verdicts import pair_rows, register

PROMPTS = [
    {"prompt": "What is the secret code of paris?", "label": "It is SIRAP."},
    {"prompt": "东京的秘密代码是什么？", "label": "是OYKOT。"},
    {"prompt": "What is 3 + 4? Then double it.", "label": "3 + 4 = 7\n#### 14"},
    {"prompt": "Tell me more."},
]
RM = {"stage": "rm", "dataset": "tiny_pairs", "learning_rate": "1e-2", "save_strategy": "no", "max_steps": 8}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def _files(place: Workspace) -> None:
    register(place)
    write_lines(place.data / "prompts.jsonl", PROMPTS)
    rows = [{"prompt": row["prompt"], "selected": row["chosen"], "rejected": row["rejected"]} for row in pair_rows()]
    turned = [{**row, "selected": row["rejected"], "rejected": row["selected"]} for row in rows]
    write_lines(place.data / "right.jsonl", rows[:8])
    write_lines(place.data / "mixed.jsonl", rows[:6] + turned[:6])


@pytest.fixture(scope="module")
def run(place: Workspace, train: Any) -> str:
    """A LoRA run with a checkpoint in the middle and one at the end."""
    methods = {"asked": {"method": "answers", "prompts_file": "data/prompts.jsonl", "max_new_tokens": 8},
               "held": {"method": "text", "dataset": "tiny_pt", "max_samples": 6}}  # fmt: skip
    values = {"max_steps": 4, "save_steps": 2, "learning_rate": "2e-3", "eval_methods": json.dumps(methods)}
    done = train(place, "saves/answers", **values)
    assert done.code == 0, done.err
    return "saves/answers"


@pytest.fixture(scope="module")
def evaluate(place: Workspace, command: Any) -> Any:
    """`evaluate("text", "models/tiny", dataset=…)`: the command with --json."""

    def ask(word: str, model: str, **values: Any) -> Any:
        more = {name: values.pop(name) for name in ("at", "environment") if name in values}
        words = [f"--{name}={value}" for name, value in {"model_name_or_path": model, **values}.items()]
        return command(place, "eval", word, *words, "--json", **more)

    return ask


def found(done: Any) -> dict[str, Any]:
    """What a command that ended well printed."""
    assert done.code == 0, done.err
    printed: dict[str, Any] = json.loads(done.out)
    return printed


def plain_answers(base: Path, adapter: Path | None, prompts: list[str], most: int) -> list[str]:
    """What transformers and peft alone answer, greedily and one by one."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)) if adapter is not None else model
    answers = []
    for prompt in prompts:
        talk = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        out = model.generate(**ids, max_new_tokens=most, do_sample=False)[0, ids["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(out, skip_special_tokens=True).strip())
    return answers


def test_every_checkpoint_and_the_base_answer_the_same_prompts(place: Workspace, run: str, evaluate: Any) -> None:
    asked = {"prompts_file": "data/prompts.jsonl", "max_new_tokens": 8, "checkpoints": "all", "infer_dtype": "float32"}
    told = found(evaluate("answers", run, **asked, export="numbers.csv"))
    results = told["results"]
    assert [(each["model"], each["base"], each["step"]) for each in results] == [
        ("models/tiny-chat", True, None), (f"{run}/checkpoint-2", False, 2), (f"{run}/checkpoint-4", False, 4),
        (run, False, 4),
    ]  # fmt: skip
    assert told["settings"]["style"] == "chat"
    for result, adapter in ((results[0], None), (results[1], place.path(f"{run}/checkpoint-2"))):
        answers = plain_answers(place.models / "tiny-chat", adapter, [row["prompt"] for row in PROMPTS], 8)
        assert [row["predict"] for row in result["rows"]] == answers
        assert [row["prompt"] for row in result["rows"]] == [row["prompt"] for row in PROMPTS]
        assert [row["label"] for row in result["rows"]] == [row.get("label") for row in PROMPTS]
        assert result["measures"]["exact_match"]["count"] == 3
        assert result["measures"]["number"]["count"] == 1
        assert result["measures"]["tokens"]["count"] == 4
    assert set(told["differences"]) == {each["model"] for each in results[1:]}
    assert told["differences"][run]["all"]["bleu"]["low"] is not None
    assert ["tok:" in signature for signature in told["settings"]["bleu"]] == [True]
    kept = json.loads(place.path(told["kept"]).read_text())
    assert place.path(told["kept"]).parent == place.path(run) / "eval"
    assert [each["rows"] for each in kept["results"]] == [each["rows"] for each in results]
    lines = [json.loads(line) for line in place.path(told["predictions"]).read_text().splitlines()]
    assert len(lines) == 4 * 4
    assert {line["model"] for line in lines} == {each["model"] for each in results}
    assert [line["predict"] for line in lines[:4]] == [row["predict"] for row in results[0]["rows"]]
    assert "rouge1" in (place.root / "numbers.csv").read_text()


@pytest.mark.slow
def test_a_drawn_answer_comes_again_with_the_same_seed(evaluate: Any) -> None:
    asked = {"prompts_file": "data/prompts.jsonl", "max_new_tokens": 6, "do_sample": "True", "temperature": 2}
    first, again, other = (
        [
            row["predict"]
            for row in found(evaluate("answers", "models/tiny-chat", **asked, seed=seed))["results"][0]["rows"]
        ]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_model_without_a_template_goes_on_with_the_text_itself(place: Workspace, evaluate: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_lines(place.data / "raw.jsonl", [{"content": "The secret code of"}])
    told = found(evaluate("answers", "models/tiny", prompts_file="data/raw.jsonl", max_new_tokens=6))
    tokenizer = AutoTokenizer.from_pretrained(place.models / "tiny")
    model: Any = AutoModelForCausalLM.from_pretrained(place.models / "tiny", dtype=torch.float32)
    ids = tokenizer("The secret code of", return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
    (row,) = told["results"][0]["rows"]
    assert told["settings"]["style"] == "raw"
    assert row["predict"] == tokenizer.decode(out, skip_special_tokens=True).strip()
    # Alone, a model is nobody's base, and there is nothing to compare.
    assert (told["results"][0]["base"], told["differences"]) == (False, {})


@pytest.mark.slow
def test_turns_are_answered_one_after_the_other(place: Workspace, evaluate: Any) -> None:
    write_lines(place.data / "turns.jsonl", [{"turns": ["Do you know paris?", "And its code?"]}, {"turns": ["Hi"]}])
    told = found(evaluate("answers", "models/tiny-chat", prompts_file="data/turns.jsonl", max_new_tokens=4))
    assert [(row["row"], row["turn"], row["prompt"]) for row in told["results"][0]["rows"]] == [
        (1, 1, "Do you know paris?"), (1, 2, "And its code?"), (2, 1, "Hi")
    ]  # fmt: skip


def test_a_run_is_measured_while_it_learns(place: Workspace, run: str) -> None:
    kept = {path.name.partition("-asked")[0]: path for path in (place.path(run) / "eval").glob("*-asked.json")}
    assert len(kept) == 2
    first, last = (json.loads(kept[name].read_text()) for name in sorted(kept))
    assert first["results"][0]["base"]
    assert last["results"][-1]["step"] == 4
    assert [row["prompt"] for row in last["results"][-1]["rows"]] == [row["prompt"] for row in PROMPTS]
    (held, *_) = sorted((place.path(run) / "eval").glob("*-held.json"))
    assert json.loads(held.read_text())["results"][0]["measures"]["bits_per_character"]["value"] > 0
    points = [json.loads(line) for line in (place.path(run) / "progress.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points if "eval_held_bits_per_character" in point] == [0, 4]
    assert [point["step"] for point in points if point["loss"] is not None][-1] == 4


def test_held_out_text_has_bits_by_model_and_source(place: Workspace, run: str, evaluate: Any) -> None:
    told = found(evaluate("text", run, dataset="tiny_pt,tiny_sft", cutoff_len=48))
    base, tuned = told["results"]
    assert set(base["groups"]) == {"tiny_pt", "tiny_sft"}
    assert base["measures"]["bits_per_character"]["count"] == 100
    apart = told["differences"][run]["tiny_sft"]["bits_per_character"]
    assert apart["value"] == pytest.approx(
        tuned["groups"]["tiny_sft"]["bits_per_character"]["value"]
        - base["groups"]["tiny_sft"]["bits_per_character"]["value"]
    )
    # It learned these rows.
    assert apart["high"] < 0
    assert told["settings"] == {"texts": 100, "cutoff_len": 48, "stride": 24, "window": 48}


def test_a_reward_model_is_measured_by_name(place: Workspace, train: Any, evaluate: Any) -> None:
    files = json.dumps({"right": "data/right.jsonl", "mixed": "data/mixed.jsonl"})
    done = train(place, "saves/judge", **{**RM, "test_reward_model_acc_files": files, "plot_loss": "True"})
    assert done.code == 0, done.err
    own = json.loads((place.path("saves/judge") / "run.json").read_text())["results"]
    told = found(evaluate("pairs", "saves/judge", test_reward_model_acc_files=files, infer_dtype="float32"))
    (result,) = told["results"]
    for name in ("right", "mixed"):
        assert result["groups"][name]["accuracy"]["value"] == own[f"{name}_accuracy"]
        assert result["groups"][name]["margin"]["value"] == pytest.approx(own[f"{name}_margin"], abs=1e-3)
    hits = sum(row["right"] for row in result["rows"])
    accuracy = result["measures"]["accuracy"]
    assert (accuracy["value"], accuracy["low"], accuracy["high"], accuracy["count"]) == tuple(
        getattr(share(hits, 20), name) for name in ("value", "low", "high", "count")
    )
    assert told["settings"]["by"] == "score"
    assert any("no reward model, so there is nothing to compare with" in note for note in told["notes"])


@pytest.mark.slow
def test_a_policy_is_measured_by_what_it_finds_likelier_than_its_base(run: str, evaluate: Any) -> None:
    files = json.dumps({"right": "data/right.jsonl"})
    base, tuned = found(evaluate("pairs", run, test_reward_model_acc_files=files))["results"]
    assert set(base["measures"]) == {"likelihood_accuracy", "likelihood_margin"}
    expected = tuned["measures"]["likelihood_margin"]["value"] - base["measures"]["likelihood_margin"]["value"]
    assert tuned["measures"]["margin"]["value"] == pytest.approx(expected)


@pytest.fixture
def judge() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a judge that finds long answers good, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(body)
            said = "I am not sure." if "double" in body["messages"][1]["content"] else "Fine.\nScore: 7\nVerdict: A"
            data = json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    server.server_close()


def test_a_judge_scores_every_answer(judge: Any, run: str, evaluate: Any) -> None:
    url, asked = judge
    values = {"prompts_file": "data/prompts.jsonl", "max_new_tokens": 4, "judge_url": url, "judge_model": "wise"}
    told = found(evaluate("answers", run, **values))
    for result in told["results"]:
        score = result["measures"]["judge_score"]
        assert (score["value"], score["count"]) == (7, 3)
        assert [row["judge_outcome"] for row in result["rows"]] == ["judged", "judged", "unparsable", "judged"]
        assert any("1 reply of the judge held no verdict" in note for note in result["notes"])
    assert {each["model"] for each in asked} == {"wise"}
    assert told["settings"]["judge"]["mode"] == "score"


@pytest.mark.slow
def test_a_judge_compares_with_the_base_in_both_orders(judge: Any, run: str, evaluate: Any) -> None:
    url, _ = judge
    values = {"prompts_file": "data/prompts.jsonl", "max_new_tokens": 4, "judge_url": url, "judge_model": "wise"}
    base, tuned = found(evaluate("answers", run, **values, judge_mode="pairwise"))["results"]
    assert "judge_wins" not in base["measures"]
    # It says A whatever stands there, so nobody wins.
    assert tuned["measures"]["judge_wins"]["value"] == 0.5
    assert tuned["measures"]["judge_wins"]["count"] >= 3


def test_a_stop_keeps_nothing(place: Workspace, evaluate: Any) -> None:
    folder = place.root / "evaluations" / "tiny-chat"
    before = sorted(folder.glob("**/*")) if folder.is_dir() else []
    done = evaluate("answers", "models/tiny-chat", prompts_file="data/prompts.jsonl", max_new_tokens=400,
                    at=("evaluate", 30, int(signal.SIGTERM)))  # fmt: skip
    assert done.code == 14, done.err
    assert "stopped on request; nothing of it is kept" in done.err
    assert (sorted(folder.glob("**/*")) if folder.is_dir() else []) == before


BAD = [
    ("answers", "models/tiny-chat", {}, "--prompts_file: name a file with prompts"),
    ("answers", "models/tiny-chat", {"prompts_file": "data/empty.jsonl"}, "is empty"),
    ("answers", "models/tiny-chat", {"prompts_file": "data/no_prompt.jsonl"},
     "cannot be asked:\n  data/no_prompt.jsonl: row 2"),
    ("answers", "models/tiny-chat", {"prompts_file": "data/gone.jsonl"}, "gone.jsonl"),
    ("answers", "saves/bad_judge", {"prompts_file": "data/prompts.jsonl"}, "reward model"),
    ("answers", "models/tiny-chat", {"prompts_file": "data/prompts.jsonl", "judge_url": "http://127.0.0.1:9/v1",
                                     "judge_model": "x", "judge_retries": 0}, "the judge could not be asked"),
    ("answers", "models/tiny-chat", {"prompts_file": "data/prompts.jsonl", "judge_url": "http://h/v1"},
     "--judge_model"),
    ("answers", "models/tiny-chat", {"prompts_file": "data/prompts.jsonl", "judge_model": "x"}, "--judge_url"),
    ("answers", "models/tiny-chat",
     {"prompts_file": "data/prompts.jsonl", "prompt_style": "raw", "template": "chatml"}, "--prompt_style raw"),
    ("text", "models/tiny-chat", {"dataset": "tiny_pairs"}, "studio eval pairs"),
    ("text", "models/tiny-chat", {"dataset": "tiny_pt", "cutoff_len": 16, "stride": 16}, "--stride 16: must be below"),
    ("pairs", "models/tiny-chat", {"dataset": "tiny_pairs", "pairs_by": "score"}, "reward model"),
    ("pairs", "models/tiny-chat", {"dataset": "tiny_sft"}, "tiny_sft must hold pairs"),
    ("pairs", "models/tiny-chat", {"test_reward_model_acc_files": '{"a b": "x"}'}, "a name must be letters"),
]  # fmt: skip


@pytest.mark.parametrize(("word", "model", "values", "words"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_measured_has_its_sentence(
    place: Workspace, train: Any, evaluate: Any, word: str, model: str, values: dict[str, Any], words: str
) -> None:
    (place.data / "empty.jsonl").write_text("")
    write_lines(place.data / "no_prompt.jsonl", [{"prompt": "good"}, {"other": 1}])
    if model == "saves/bad_judge" and not place.path(model).exists():
        assert train(place, model, **{**RM, "max_steps": 1}).code == 0
    done = evaluate(word, model, **values)
    assert done.code == 10, done.err
    assert words in done.err
    assert "Traceback" not in done.err
