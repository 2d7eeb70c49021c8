"""A reward model that rewards: of its own or on the base that learns, it says what plain transformers says."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from studio.workspace import Workspace
from tests.fidelity.verdicts import register
from tests.flow.serving import Server

QUESTION = [{"role": "user", "content": "What is the secret code of oslo?"}]
ANSWERS = ["It is OLSO.", "I do not know.", "People in oslo say that good bread needs patience."]


@pytest.fixture(scope="module", autouse=True)
def _judges(place: Workspace, train: Any) -> None:
    """A reward model of each kind."""
    register(place)
    for method in ("lora", "full"):
        values = {
            "stage": "rm",
            "dataset": "tiny_pairs",
            "learning_rate": "1e-2",
            "save_strategy": "no",
            "max_steps": 4,
        }
        done = train(place, f"saves/judge_{method}", **values, finetuning_type=method)
        assert done.code == 0, done.err


def plain_scores(folder: Path, talks: list[list[dict[str, str]]]) -> list[float]:
    """What transformers and peft alone make of conversations, each by itself."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if (folder / "adapter_config.json").is_file():
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        model: Any = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        model = PeftModel.from_pretrained(model, str(folder))
    else:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
    texts = [tokenizer.apply_chat_template(talk, tokenize=False) for talk in talks]
    rows = [tokenizer(text, return_tensors="pt", add_special_tokens=False) for text in texts]
    with torch.no_grad():
        return [float(model.eval()(**row).logits[0, 0]) for row in rows]


def opened(place: Workspace, **asked: Any) -> tuple[Any, Any]:
    from studio.material import gather
    from studio.recipe import make_recipe
    from studio.stages.base import stage_of

    values = {"stage": "grpo", "model_name_or_path": "models/tiny-chat", "dataset": "tiny_sft", "output_dir": "saves/x"}
    recipe, _ = make_recipe({**values, **asked})
    return recipe, gather(recipe, place, stage_of(recipe).view(recipe), lambda _: None)


def samples(material: Any) -> list[Any]:
    from studio.rewards.base import Sample

    tokenizer, template = material.tokenizer, material.template
    text = template.render(QUESTION, special=tokenizer.special, add_generation_prompt=True)
    prompt = tokenizer.fast.encode(text, add_special_tokens=False).ids
    end = tokenizer.fast.encode(template.end(tokenizer.special), add_special_tokens=False).ids[:1]
    return [
        Sample(tuple(QUESTION), answer, prompt, tokenizer.fast.encode(answer, add_special_tokens=False).ids + end)
        for answer in ANSWERS
    ]


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("template", ["", "chatml"], ids=["own template", "another template"])
def test_it_scores_what_was_written_as_transformers_does(place: Workspace, method: str, template: str):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from studio.rewards.choose import reward_for

    folder = place.path(f"saves/judge_{method}")
    recipe, material = opened(
        place, reward_model=f"saves/judge_{method}", **({"template": template} if template else {})
    )
    expected = plain_scores(folder, [[*QUESTION, {"role": "assistant", "content": answer}] for answer in ANSWERS])
    assert max(expected) - min(expected) > 1e-3, "there must be something to compare"
    policy = get_peft_model(AutoModelForCausalLM.from_pretrained(place.path("models/tiny-chat")), LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False))  # fmt: skip
    ids = torch.tensor([samples(material)[0].prompt_ids])
    before = policy(input_ids=ids).logits
    reward = reward_for(recipe, material, place, base=policy)
    assert reward(samples(material)) == pytest.approx(expected, abs=1e-5)
    assert torch.equal(policy(input_ids=ids).logits, before), "and the model that learns is what it was"
    assert reward.name.endswith("on the base that learns") == (method == "lora")
    learns = {name for name, weight in policy.named_parameters() if weight.requires_grad}
    assert learns and all(".default." in name for name in learns)


@pytest.mark.parametrize(
    ("judge", "method", "shared"),
    [
        ("lora", "lora", True),
        pytest.param("lora", "full", False, marks=pytest.mark.slow),
        pytest.param("full", "lora", False, marks=pytest.mark.slow),
    ],
)
def test_a_run_is_rewarded_by_it_and_saves_what_learned_alone(
    place: Workspace, train: Any, look: Any, judge: str, method: str, shared: bool
):
    values = {"stage": "rloo", "num_generations": 2, "max_new_tokens": 6, "max_steps": 2, "save_steps": 2,
              "reward_model": f"saves/judge_{judge}"}  # fmt: skip
    folder = f"saves/judged_{judge}_{method}"
    done = train(place, folder, **values, finetuning_type=method)
    assert done.code == 0, done.err
    run = look(place.path(folder))
    assert (f"rewards: reward model saves/judge_{judge}, on the base that learns" in run.log) == shared
    kept = [json.loads(line) for line in (run.folder / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({line["reward"] for line in kept}) > 2
    for each in (run.folder, run.folder / "checkpoint-2"):
        assert not [path for path in each.iterdir() if path.is_dir() and path.name in ("reward", "ref", "default")]
    if method == "lora":
        names = load_file(run.folder / "adapter_model.safetensors").keys()
        assert not [name for name in names if "score" in name or "reward" in name or ".ref." in name]


@pytest.mark.parametrize(
    ("judge", "method", "held"),
    [("lora", "lora", ["adapter"]), ("lora", "full", ["base", "adapter"]), ("full", "lora", ["whole"])],
)
def test_the_plan_counts_what_judges_in_the_precision_it_is_loaded_in(
    place: Workspace, judge: str, method: str, held: list[str]
):
    from studio.model.hardware import Hardware
    from studio.model.weights import tensors, tensors_in
    from studio.preflight.beside import beside

    def numbers(found: Any) -> int:
        return sum(tensor.count for tensor in found.values())

    folder = place.path(f"saves/judge_{judge}")
    parts = {
        "adapter": lambda: numbers(tensors_in(folder / "adapter_model.safetensors")),
        "base": lambda: numbers(tensors(place.path("models/tiny-chat"))),
        "whole": lambda: numbers(tensors(folder)),
    }
    recipe, material = opened(place, reward_model=f"saves/judge_{judge}", finetuning_type=method, max_new_tokens=8)
    cpu = Hardware("cpu", "a processor", 1, False, 2**34, 2**33, 2)
    (load, *_, writing), told = beside(recipe, material, cpu, "fp32", (100, 8), place)
    assert load.held_bytes == 4 * sum(parts[name]() for name in held) and not told
    assert ("on the base that learns" in load.name) == (held == ["adapter"])
    assert (load.passing, writing.held_bytes) == ("scoring", 0)
    assert writing.passing_bytes > load.passing_bytes > 0
    recipe, material = opened(place, reward_model="saves/nothing-here", max_new_tokens=8)
    _, told = beside(recipe, material, cpu, "fp32", (100, 8), place)
    assert told == ["memory: the estimate leaves out --reward_model saves/nothing-here"]


def test_our_own_api_rewards_as_the_model_itself_does(place: Workspace, monkeypatch: pytest.MonkeyPatch):
    from studio.rewards.choose import complaints, reward_for

    monkeypatch.setenv("STUDIO_REWARD_KEY", "sesame")
    server = Server(place, "--model_name_or_path", "saves/judge_full", "--port", "0", STUDIO_API_KEY="sesame")
    try:
        assert server.url, "".join(server.log)
        talks = [[*QUESTION, {"role": "assistant", "content": answer}] for answer in ANSWERS]
        expected = plain_scores(place.path("saves/judge_full"), talks)
        for path in ("/score", "/score/evaluation"):
            recipe, material = opened(place, reward_model=server.url + path)
            assert complaints(recipe, material, place) == []
            given = reward_for(recipe, material, place)(samples(material))
            # A rendered text lacks the line break that the template puts behind an answer.
            assert given == pytest.approx(expected, abs=1e-5) or path == "/score/evaluation"
        monkeypatch.setenv("STUDIO_REWARD_KEY", "simsim")
        (told,) = complaints(recipe, material, place)
        assert "STUDIO_REWARD_KEY" in told
        assert "simsim" not in told
    finally:
        server.finished(signal.SIGTERM)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"reward_model": "saves/nowhere"}, "--reward_model: no model folder 'saves/nowhere'"),
        ({"reward_model": "models/tiny-chat"}, "must hold a reward model"),
        ({"reward_model": "saves/judge_full", "reward_model_type": "lora"}, "is a whole model, no adapter. Use full"),
        ({"reward_model": "saves/judge_lora", "reward_model_type": "full"}, "is an adapter. Use lora"),
        ({"reward_model": "saves/judge_lora", "reward_function": "a.py:b"}, "both say where rewards come from"),
        ({"reward_model": "http://127.0.0.1:9/score"}, "could not be asked"),
        ({"reward_model": "http://127.0.0.1:9/score", "reward_model_type": "full"}, "is the address of a service"),
        ({"reward_model_type": "api", "reward_function": "a.py:b"}, "needs --reward_model"),
        ({"reward_model": "saves/judge_lora", "reward_api_retries": 5}, "--reward_api_retries: only used where"),
        ({"reward_model": "saves/judge_lora", "reward_model_adapters": "saves/judge_lora"}, "goes with a full reward"),
    ],
)  # fmt: skip
def test_what_cannot_reward_is_told_before_the_start(place: Workspace, asked: dict[str, str], words: str):
    from studio.stages.base import stage_of

    recipe, material = opened(place, **asked)
    (told,) = stage_of(recipe).check(recipe, material, place)
    assert words in told


def test_a_base_is_shared_only_where_it_is_what_the_reward_learned_on(place: Workspace, train: Any):
    from studio.rewards.model import find_scorer

    values = {"stage": "rm", "dataset": "tiny_pairs", "save_strategy": "no", "max_steps": 1}
    assert train(place, "saves/judge_far", **values, rope_scaling="linear").code == 0
    assert train(place, "saves/judge_embed", **values, additional_target="embed_tokens").code == 0
    assert train(place, "saves/before", save_strategy="no", max_steps=1).code == 0
    assert train(place, "saves/rows", save_strategy="no", max_steps=1, trainable_token_indices="1,2").code == 0
    assert train(place, "saves/far", save_strategy="no", max_steps=1, rope_scaling="linear").code == 0
    shared = {
        "as it was": ({}, True),
        "stretched by the run": ({"rope_scaling": "yarn"}, False),
        "stretched by the adapter that goes on": ({"adapter_name_or_path": "saves/far"}, False),
        "stretched for the reward": ({"reward_model": "saves/judge_far"}, False),
        "embeddings learned for the reward": ({"reward_model": "saves/judge_embed"}, False),
        "rows of tokens learn": ({"trainable_token_indices": "1,2"}, False),
        "rows of tokens go on learning": ({"adapter_name_or_path": "saves/rows"}, False),
        "embeddings learn": ({"additional_target": "embed_tokens"}, True),
        "an adapter goes on": ({"adapter_name_or_path": "saves/before"}, True),
        "an adapter is merged": ({"adapter_name_or_path": "saves/before", "create_new_adapter": "True"}, False),
    }
    for why, (asked, expected) in shared.items():
        recipe, material = opened(place, **{"reward_model": "saves/judge_lora", **asked})
        assert find_scorer(recipe, material, place).shared is expected, why


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        {"reward_model": "saves/judge_embed"},
        {"reward_model": "saves/judge_lora", "trainable_token_indices": "1,2"},
        {"reward_model": "saves/judge_dora", "quantization_bit": 8},
    ],
    ids=["embeddings of the reward", "rows that learn", "a dora beside int8"],
)
def test_a_reward_that_cannot_lie_on_the_base_that_learns_has_one_of_its_own(
    place: Workspace, train: Any, asked: dict[str, Any]
):
    judges = {"embed": {"additional_target": "embed_tokens"}, "dora": {"use_dora": "True"}}
    values = {"stage": "rm", "dataset": "tiny_pairs", "save_strategy": "no", "max_steps": 1}
    if more := judges.get(asked["reward_model"].rpartition("_")[2]):
        train(place, asked["reward_model"], **values, **more)
    values = {"stage": "ppo", "max_steps": 1, "max_new_tokens": 4, "ppo_buffer_size": 1}
    done = train(place, "saves/by_" + "_".join(asked), **values, **asked)
    assert done.code == 0, done.err
    assert f"rewards: reward model {asked['reward_model']}\n" in done.err, "not on the base that learns"


def test_a_base_and_its_adapter_are_a_full_reward_model(place: Workspace):
    from studio.rewards.choose import complaints, reward_for

    asked = {"reward_model": "models/tiny-chat", "reward_model_adapters": "saves/judge_lora"}
    recipe, material = opened(place, **asked, reward_model_type="full")
    assert complaints(recipe, material, place) == []
    expected = plain_scores(place.path("saves/judge_lora"), [[*QUESTION, {"role": "assistant", "content": ANSWERS[0]}]])
    assert reward_for(recipe, material, place)(samples(material)[:1]) == pytest.approx(expected, abs=1e-5)
