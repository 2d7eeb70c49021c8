"""A reward model from the command to whoever loads it: scores, checkpoints, exports, an API."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.workspace import Workspace
from tests.fidelity.verdicts import pair_rows, register
from tests.flow.serving import Server

KILL = int(signal.SIGKILL)
TALKS = [
    [{"role": "user", "content": "What is the secret code of oslo?"}, {"role": "assistant", "content": text}]
    for text in ("It is OLSO.", "I do not know.", "People in oslo say that good bread needs patience.")
]
RM = {"stage": "rm", "dataset": "tiny_pairs", "learning_rate": "1e-2", "save_strategy": "no"}


@pytest.fixture(scope="module", autouse=True)
def _registered(place: Workspace) -> None:
    """The pairs, and a test file of the other form, of which half is the wrong way round."""
    register(place)
    rows = [{"prompt": row["prompt"], "selected": row["chosen"], "rejected": row["rejected"]} for row in pair_rows()]
    turned = [{**row, "selected": row["rejected"], "rejected": row["selected"]} for row in rows]
    for name, kept in {"right": rows[:8], "mixed": rows[:6] + turned[:6], "odd": rows[:5]}.items():
        (place.data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))


@pytest.fixture(scope="module")
def lora(place: Workspace, train: Any, look: Any) -> Any:
    """A reward adapter, measured on held-out pairs and two files."""
    files = json.dumps({"right": "data/right.jsonl", "mixed": "data/mixed.jsonl"})
    more = {"val_size": 4, "plot_loss": "True", "test_reward_model_acc_files": files, "max_steps": 16}
    done = train(place, "saves/rm_lora", **{**RM, **more})
    assert done.code == 0, done.err
    return look(place.path("saves/rm_lora"))


def plain_scores(folder: Path) -> list[float]:
    """What transformers and peft alone make of the conversations, in one padded batch."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if (folder / "adapter_config.json").is_file():
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        model = PeftModel.from_pretrained(model, str(folder))
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        assert model.config.num_labels == 1 and model.config.pad_token_id == tokenizer.pad_token_id
    texts = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in TALKS]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.no_grad():
        return list(model.eval()(**inputs).logits[:, 0].tolist())


def our_scores(place: Workspace, folder: Path) -> list[float]:
    """The same from the studio."""
    from studio.model.scorer import open_scorer

    return open_scorer(folder, cache=place.cache).score_messages(TALKS)


def test_the_curve_tells_accuracy_and_margin_and_both_rise(lora: Any):
    points = [point for point in lora.points if point["loss"] is not None]
    assert {"accuracy", "margin"} <= points[0].keys()
    assert points[-1]["margin"] > points[0]["margin"] and points[-1]["loss"] < 0.5
    held_out = lora.points[-1]
    assert held_out["eval_accuracy"] == 1.0 and held_out["eval_margin"] > 0


def test_scores_are_counted_for_each_split(lora: Any):
    splits = lora.json("scores.json")["splits"]
    assert {name: split["pairs"] for name, split in splits.items()} == {"eval": 4, "right": 8, "mixed": 12}
    for split in splits.values():
        assert len(split["edges"]) == len(split["chosen"]) + 1
        assert sum(split["chosen"]) == sum(split["rejected"]) == split["pairs"]
    assert splits["right"]["accuracy"] == 1.0
    assert splits["mixed"]["accuracy"] == 0.5, "half of it is the wrong way round"
    low, high = splits["mixed"]["interval"]
    assert low == pytest.approx(0.2538, abs=1e-3) and high == pytest.approx(0.7462, abs=1e-3)
    assert splits["right"]["chosen"] != splits["right"]["rejected"]


def test_record_card_and_picture_tell_the_accuracy(lora: Any):
    results = lora.json("run.json")["results"]
    assert results["mixed_accuracy"] == 0.5 and results["mixed_accuracy_interval"] == "0.2538 to 0.7462"
    assert "| mixed_accuracy | 0.5 |" in (lora.folder / "README.md").read_text()
    assert (lora.folder / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert "mixed: the chosen answer scores higher in 50.0% of 12 pairs" in lora.log


def test_an_adapter_keeps_its_head_and_gives_the_same_scores_everywhere(place: Workspace, lora: Any):
    config = lora.json("adapter_config.json")
    assert config["task_type"] == "SEQ_CLS" and "score" in config["modules_to_save"]
    ours = our_scores(place, lora.folder)
    assert ours[0] > ours[1]
    assert plain_scores(lora.folder) == pytest.approx(ours, abs=1e-5)


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_a_model_with_tied_embeddings_saves_its_head(place: Workspace, train: Any, method: str):
    folder = f"saves/rm_{method}"
    more = {"freeze_trainable_layers": 1} if method == "freeze" else {}
    done = train(place, folder, **{**RM, "save_strategy": "steps", "finetuning_type": method, **more})
    assert done.code == 0, done.err
    config = json.loads((place.path(folder) / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForSequenceClassification"] and config["tie_word_embeddings"]
    ours = {kept: our_scores(place, place.path(folder) / kept) for kept in ("checkpoint-2", "")}
    for kept, scores in ours.items():
        assert plain_scores(place.path(folder) / kept) == pytest.approx(scores, abs=1e-5)
    assert ours["checkpoint-2"] != ours[""]


def test_export_merges_an_adapter_into_a_whole_classifier(place: Workspace, command: Any, lora: Any):
    done = command(place, "export", "--model_name_or_path", "saves/rm_lora", "--export_dir", "models/merged-rm")
    assert done.code == 0, done.err
    folder = place.path("models/merged-rm")
    assert not (folder / "Modelfile").exists()
    assert "AutoModelForSequenceClassification" in (folder / "README.md").read_text()
    assert plain_scores(folder) == pytest.approx(our_scores(place, lora.folder), abs=1e-5)
    assert our_scores(place, folder) == pytest.approx(our_scores(place, lora.folder), abs=1e-5)


def test_the_adapter_of_a_language_model_goes_on_as_a_reward_model(place: Workspace, train: Any, look: Any):
    assert train(place, "saves/before", save_strategy="no", learning_rate="1e-2").code == 0
    hardly = {"adapter_name_or_path": "saves/before", "max_steps": 1, "optim": "sgd", "learning_rate": "1e-12"}
    done = train(place, "saves/rm_after", **{**RM, **hardly})
    assert done.code == 0, done.err
    from safetensors.torch import load_file

    before, after = (load_file(place.path(f"saves/{name}") / "adapter_model.safetensors")
                     for name in ("before", "rm_after"))  # fmt: skip
    assert after.keys() - before.keys() == {"base_model.model.score.weight"}
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert plain_scores(place.path("saves/rm_after")) == pytest.approx(
        our_scores(place, place.path("saves/rm_after")), abs=1e-5
    )


def test_a_base_in_4_bits_learns_with_its_head_in_full(place: Workspace, train: Any):
    done = train(place, "saves/rm_4bit", **{**RM, "quantization_bit": 4})
    assert done.code == 0, done.err
    from safetensors.torch import load_file

    head = load_file(place.path("saves/rm_4bit/adapter_model.safetensors"))["base_model.model.score.weight"]
    assert head.dtype == torch.float32 and head.shape == (1, 32)


@pytest.mark.slow
def test_a_base_in_8_bits_learns(place: Workspace, train: Any):
    done = train(place, "saves/rm_8bit", **{**RM, "quantization_bit": 8})
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "kind", [{}, pytest.param({"finetuning_type": "full"}, marks=pytest.mark.slow)], ids=["lora", "full"]
)
def test_killed_it_goes_on_to_the_same_bytes(place: Workspace, train: Any, look: Any, kind: dict[str, Any]):
    values = {**RM, **kind, "save_strategy": "steps", "val_size": 4, "eval_strategy": "steps", "eval_steps": 3}
    values |= {} if kind else {"lora_dropout": 0.2}
    name = "_".join(kind.values())
    whole, killed = f"saves/rm_whole{name}", f"saves/rm_killed{name}"
    assert train(place, whole, **values).code == 0
    assert train(place, killed, at=("backward", 4, KILL), **values).code == -KILL
    done = train(place, killed, **values)
    assert done.code == 0, done.err
    look(place.path(killed)).must_end_as(look(place.path(whole)))
    assert (place.path(killed) / "scores.json").read_text() == (place.path(whole) / "scores.json").read_text()


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_a_batch_twice_as_large(place: Workspace, train: Any, look: Any):
    values = {**RM, "finetuning_type": "full", "train_sampling_strategy": "sequential", "logging_steps": 1,
              "val_size": 4, "learning_rate": "1e-3",
              "test_reward_model_acc_files": '{"odd": "data/odd.jsonl"}'}  # fmt: skip
    two = train(
        place, "saves/rm_two", **{**values, "per_device_train_batch_size": 2}, environment={"NPROC_PER_NODE": "2"}
    )
    assert two.code == 0, two.err
    assert train(place, "saves/rm_one", **values).code == 0
    left, right = look(place.path("saves/rm_two")), look(place.path("saves/rm_one"))
    assert [loss for _, loss in left.curve] == pytest.approx([loss for _, loss in right.curve], abs=1e-5)
    assert [point["margin"] for point in left.points if "margin" in point] == pytest.approx(
        [point["margin"] for point in right.points if "margin" in point], abs=1e-5
    )
    splits = [run.json("scores.json")["splits"]["odd"] for run in (left, right)]
    assert (
        splits[0]["pairs"] == 5
        and splits[0]["chosen"] == splits[1]["chosen"]
        and splits[0]["margin"] == pytest.approx(splits[1]["margin"], abs=1e-5)
    )


def test_what_cannot_be_is_refused_before_the_start(place: Workspace, command: Any, small: Any):
    def refused(**values: Any) -> str:
        asked = {**small, **RM, "output_dir": "saves/never", **values}
        done = command(place, "train", "--plan", *[f"--{name}={value}" for name, value in asked.items()])
        assert done.code == 10, done.err
        return done.out + done.err

    files = {"a b": "data/right.jsonl", "eval": "data/right.jsonl", "gone": "data/absent.jsonl",
             "answers": "data/tiny_sft.json", "number": 3}  # fmt: skip
    told = refused(test_reward_model_acc_files=json.dumps(files))
    for sentence in ("got 'a b'", "and not eval", "acc_files gone: ", "answers: ", "number: must lead to the path"):
        assert sentence in told
    assert "a pair" in told or "pairs of a chosen" in told
    assert "a reward model learns from verdicts as they are" in refused(label_smoothing_factor=0.1)
    assert "needs pairs of a chosen and a rejected answer" in refused(dataset="tiny_sft")


def test_other_stages_and_chat_refuse_a_reward_model(place: Workspace, train: Any, command: Any, lora: Any):
    done = train(place, "saves/never", adapter_name_or_path="saves/rm_lora")
    assert done.code == 10 and "holds a reward model, which only gives scores" in done.err, done.err
    done = command(place, "chat", "--model_name_or_path", "saves/rm_lora", "--prompt", "Who are you?")
    assert done.code == 10 and "studio chat needs a model that writes text" in done.err


def asked(server: Server, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of a POST."""
    host, _, rest = server.url.removeprefix("http://").partition("/")
    link = http.client.HTTPConnection(host, timeout=60)
    link.request("POST", f"/{rest}{path}", json.dumps(body), {"Content-Type": "application/json", **headers})
    answer = link.getresponse()
    found = json.loads(answer.read())
    link.close()
    return answer.status, found


def test_the_api_scores_conversations_and_texts_and_refuses_to_chat(place: Workspace, lora: Any):
    server = Server(place, "--model_name_or_path", "saves/rm_lora", "--port", "0", STUDIO_API_KEY="open-sesame")
    assert server.url, "".join(server.log)
    key = {"Authorization": "Bearer open-sesame"}
    ours = our_scores(place, lora.folder)
    status, one = asked(server, "/score", {"messages": TALKS[0]}, **key)
    assert status == 200 and one["scores"] == pytest.approx(ours[:1], abs=1e-5)
    _, many = asked(server, "/score", {"messages": TALKS}, **key)
    assert many["scores"] == pytest.approx(ours, abs=1e-5) and many["model"] == "rm_lora"
    texts = ["".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in talk) for talk in TALKS]
    _, rendered = asked(server, "/score/evaluation", {"model": "rm_lora", "messages": texts}, **key)
    assert rendered["object"] == "score.evaluation" and rendered["scores"] == pytest.approx(ours, abs=1e-5)
    for path, body, code, said in (
        ("/chat/completions", {"model": "rm_lora", "messages": TALKS[0]}, 400, "is a reward model"),
        ("/score", {"messages": []}, 400, "messages"),
        ("/score", {"messages": [[]]}, 400, "between 1 and"),
        ("/score", {"model": "other", "messages": TALKS[0]}, 404, "is not served here"),
        ("/score/evaluation", {"messages": ["x " * 5000]}, 400, "context"),
    ):
        status, answer = asked(server, path, body, **key)
        assert status == code and said in answer["error"]["message"], answer
    assert asked(server, "/score", {"messages": TALKS[0]})[0] == 401
    assert server.finished(signal.SIGTERM) == 0
    assert "Traceback" not in "".join(server.log)
