"""A filled form becomes one command: the one that is shown, copied and started."""

import ast
import shlex
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.command import read_recipe, to_argv
from studio.errors import ArgumentError
from studio.jobs.store import Store
from studio.recipe import STAGES, arguments_of, arguments_of_all
from studio.web.form import Composed, compose, refuse_words
from studio.web.schema import OWN, schema
from studio.web.site import Site
from studio.web.trust import refuse_trust
from studio.workspace import Workspace

GOOD = {"model_name_or_path": "models/tiny-chat", "dataset": ["tiny_sft"]}


@pytest.fixture
def site(workspace: Workspace) -> Site:
    return Site(workspace, Store(workspace.root / ".studio" / "studio.db"), "token")


def composed(site: Site, values: dict[str, Any], **names: Any) -> Composed:
    return compose(site, values, **{"run_name": "first", **names})


def test_a_good_form_is_a_command_that_reads_back_as_the_same_recipe(site: Site) -> None:
    made = composed(site, {**GOOD, "learning_rate": "1e-4", "bf16": False, "lr_scheduler_kwargs": '{"min_lr": 1e-6}'})
    assert made.complaints == []
    assert made.output_dir == "saves/tiny-chat/lora/first"
    recipe, _ = read_recipe(made.argv[1:], site.workspace.root)
    assert recipe == made.recipe
    assert recipe.flat()["lr_scheduler_kwargs"] == {"min_lr": 1e-6}


def test_shell_yaml_and_python_say_the_same(site: Site) -> None:
    values = {**GOOD, "default_system": "say \"no\" & 'yes'; $HOME — 好\nnew", "lr_scheduler_kwargs": {"min_lr": 1e-6}}
    made = composed(site, values, run_name="a b")
    words = shlex.split(made.shell)
    assert words[:2] == [f"STUDIO_WORKSPACE={site.workspace.root}", "studio"]
    assert words[2:] == made.argv
    assert shlex.split(" ".join(made.lines)) == words
    tree = ast.parse(made.python)
    listed = next(node for node in tree.body if isinstance(node, ast.Assign))
    assert ast.literal_eval(listed.value) == made.argv[1:]
    (site.workspace.root / "run.yaml").write_text(made.yaml, encoding="utf-8")
    recipe, _ = read_recipe(["run.yaml"], site.workspace.root)
    assert to_argv(recipe) == made.argv[1:]


def test_a_half_filled_form_shows_a_command_and_says_what_is_missing(site: Site) -> None:
    made = composed(site, {"learning_rate": "1e-", "lora_rank": "16"})
    assert made.argv[:3] == ["train", "--stage", "sft"]
    assert made.argv[made.argv.index("--learning_rate") :][:2] == ["--learning_rate", "1e-"]
    assert set(made.by_field) == {"learning_rate", "model_name_or_path", "dataset"}
    assert made.recipe is None
    assert not made.as_json()["ok"]


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        ({}, "saves/tiny-chat/lora/first"),
        ({"model_name": "mine"}, "saves/mine/lora/first"),
        ({"run_name": "models/elsewhere"}, "models/elsewhere"),
    ],
)
def test_model_method_and_run_name_the_folder(site: Site, names: dict[str, str], folder: str) -> None:
    assert composed(site, GOOD, **names).output_dir == folder


def test_a_bare_output_dir_is_a_run_name_too(site: Site) -> None:
    made = composed(site, {**GOOD, "finetuning_type": "full", "output_dir": "second"})
    assert made.output_dir == "saves/tiny-chat/full/second"


@pytest.mark.parametrize("name", ["..", ".hidden", "a\nb", "x" * 300, "-flag"])
def test_a_run_name_that_is_no_folder_is_told(site: Site, name: str) -> None:
    made = composed(site, GOOD, run_name=name)
    assert "run name must be" in made.by_field["output_dir"]


def test_a_path_outside_the_roots_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(site.workspace.root))
    made = composed(site, {**GOOD, "train_file": ["../x.json"], "output_dir": "/etc/run"})
    assert "leads outside" in made.by_field["train_file"]
    assert "leads outside" in made.by_field["output_dir"]


def test_a_dataset_that_is_not_registered_or_does_not_fit_is_told_at_its_field(site: Site) -> None:
    assert "no dataset is named 'nope'" in composed(site, {**GOOD, "dataset": ["nope"]}).by_field["dataset"]
    misfit = composed(site, {**GOOD, "dataset": ["tiny_pt"]})
    assert misfit.by_field["dataset"].startswith("--dataset tiny_pt: Stage sft needs conversations")
    assert composed(site, {**GOOD, "dataset": ["tiny_pt"], "stage": "pt"}).complaints == []


def test_false_and_null_among_further_arguments_count(site: Site) -> None:
    made = composed(site, {**GOOD, "extra_arguments": '{"dataloader_pin_memory": false, "bf16": null, "seed": null}'})
    assert made.complaints == []
    assert made.argv[-2:] == ["--dataloader_pin_memory", "False"]
    assert made.notes == ["--seed null in the further arguments: it stays as it is by itself."]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"nope": 1}', "--nope: there is no such argument"),
        ('{"seed": 3}', "--seed: stands in the form and in the further arguments"),
        ("[1]", "--extra_arguments: must be a JSON object"),
        ("{", "--extra_arguments: must be a JSON object"),
    ],
)
def test_wrong_further_arguments_are_told_by_name(site: Site, text: str, told: str) -> None:
    made = composed(site, {**GOOD, "seed": "7", "extra_arguments": text})
    assert told in "\n".join(made.complaints)


def test_foreign_code_is_refused_unless_the_studio_was_started_so(site: Site) -> None:
    values = {**GOOD, "trust_remote_code": True}
    assert "runs no code of models" in composed(site, values).by_field["trust_remote_code"]
    trusting = Site(site.workspace, site.store, "token", trusts_code=True)
    assert compose(trusting, values, run_name="first").complaints == []


def test_a_folder_that_holds_something_else_is_told_before_the_start(site: Site) -> None:
    folder = site.workspace.saves / "tiny-chat" / "lora" / "first"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert "must be a run of the studio or empty" in composed(site, GOOD).by_field["output_dir"]


def test_devices_stand_in_front_of_the_command(site: Site) -> None:
    assert composed(site, GOOD, devices=("0", "1")).shell.startswith("CUDA_VISIBLE_DEVICES=0,1 STUDIO_WORKSPACE=")


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
names = st.sampled_from([each["name"] for each in schema("train")["arguments"]]) | st.text(max_size=10)


@given(
    values=st.dictionaries(names, anything, max_size=4), model_name=st.text(max_size=9), run_name=st.text(max_size=9)
)
def test_whatever_the_page_posts_is_answered(
    values: dict[str, Any], model_name: str, run_name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = Workspace(tmp_path_factory.getbasetemp())
    made = compose(Site(place, Store(place.root / "x.db"), "token"), values, model_name, run_name)
    assert made.complaints
    assert shlex.split(made.shell)[-1] is not None


def test_a_keystroke_is_answered_fast(site: Site) -> None:
    composed(site, GOOD)
    took = []
    for rank in range(1, 21):
        begun = time.process_time()
        composed(site, {**GOOD, "lora_rank": str(rank)})
        took.append(time.process_time() - begun)
    assert sorted(took)[10] < 0.02


def test_every_argument_has_a_group_and_a_place_in_the_form() -> None:
    told = schema("train")
    assert {each["group"] for each in told["arguments"] if each["part"] == "group"} <= set(told["groups"])
    assert {each["kind"] for each in told["arguments"]} <= {"bool", "int", "float", "text", "names", "object", "choice"}
    own = ("rlhf", "rollout")
    basic = [each for each in told["arguments"] if each["level"] == "basic" and each["part"] == "group"]
    assert {each["name"] for each in basic if each["group"] not in own} == {"output_dir"}
    assert {stage["name"] for stage in told["stages"]} == set(STAGES)


def test_what_a_way_of_learning_asks_stands_in_its_own_groups_with_the_stages_that_use_it() -> None:
    told = {each["name"]: each for each in schema("train")["arguments"]}
    for stage in STAGES:
        for name in STAGES[stage].fields.model_fields:
            assert told[name]["group"] in OWN, name
            assert stage in told[name]["stages"], name
    assert (told["reward_model"]["group"], told["ppo_gamma"]["group"]) == ("rlhf", "rlhf_more")
    assert told["temperature"]["group"] == "rollout"
    assert set(told["packing"]["stages"]) == {"pt", "sft"}
    assert told["seed"]["stages"] == []


def test_an_argument_that_stages_share_is_the_same_in_each() -> None:
    for name in arguments_of_all():
        shared = [arguments_of(stage)[name] for stage in STAGES if name in arguments_of(stage)]
        assert len({(repr(each.default), each.choices, each.kinds, each.level) for each in shared}) == 1, name


def test_what_is_usual_is_told_for_arguments_and_stages_that_there_are() -> None:
    for name, stages in schema("train")["usual"].items():
        for stage, values in stages.items():
            argument = arguments_of(stage)[name]
            assert "" in values or set(values) == set(arguments_of_all()["finetuning_type"].choices)
            assert set(values) - {""} <= set(arguments_of_all()["finetuning_type"].choices)
            assert all(isinstance(value, argument.kinds) for value in values.values())


PPO = {**GOOD, "stage": "ppo"}


def test_a_reward_model_is_found_by_its_bare_name_also_of_another_method(site: Site) -> None:
    for method, name in (("lora", "judge"), ("full", "whole-judge")):
        folder = site.workspace.saves / "tiny-chat" / method / name
        folder.mkdir(parents=True)
        assert composed(site, {**PPO, "reward_model": name}).argv[-1] == f"saves/tiny-chat/{method}/{name}"
    missing = composed(site, {**PPO, "reward_model": "saves/tiny-chat/lora/none"})
    assert "there is no such folder" in missing.by_field["reward_model"]
    service = composed(site, {**PPO, "reward_model": "http://127.0.0.1:9/score"})
    assert "http://127.0.0.1:9/score" in service.argv


def test_a_stage_that_learns_from_rewards_waits_for_a_source_of_them(site: Site) -> None:
    assert "learns from rewards" in composed(site, PPO).by_field["reward_model"]
    assert composed(site, {**PPO, "reward_model": "http://127.0.0.1:9/score"}).complaints == []


def test_a_function_for_rewards_is_code_and_runs_only_where_the_start_allowed_it(site: Site) -> None:
    (site.workspace.root / "rewards.py").write_text("def short(samples): return [0.0 for _ in samples]\n")
    values = {**PPO, "reward_function": "rewards.py:short"}
    assert "runs no code that the page names" in composed(site, values).by_field["reward_function"]
    trusting = Site(site.workspace, site.store, "token", trusts_code=True)
    assert compose(trusting, values, run_name="first").complaints == []


def test_paths_of_helping_models_stay_inside_the_roots(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(site.workspace.root))
    trusting = Site(site.workspace, site.store, "token", trusts_code=True)
    for name, path in (("reward_model", "/etc"), ("ref_model", "../x"), ("reward_function", "/etc/x.py:f")):
        assert "leads outside" in compose(trusting, {**PPO, name: path}, run_name="first").by_field[name]


def test_a_password_in_the_address_of_a_service_comes_into_no_command_of_a_job(site: Site) -> None:
    for address in ("http://me:hunter2@host/score", "ftp://me:hunter2@host/score"):
        told = composed(site, {**PPO, "reward_model": address}).by_field["reward_model"]
        assert "must never stand in a command" in told and "hunter2" not in told
    assert (
        "must be the address" in composed(site, {**PPO, "reward_model": "file:///etc/passwd"}).by_field["reward_model"]
    )


def test_files_that_a_reward_model_is_measured_on_lie_inside_the_roots(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(site.workspace.root))
    for files in ({"all": "/etc/passwd"}, '{"all": "../x.jsonl"}'):
        made = composed(site, {**GOOD, "stage": "rm", "test_reward_model_acc_files": files})
        assert "leads outside" in made.by_field["test_reward_model_acc_files"]


@pytest.mark.parametrize("stage", ["ppo", "grpo", "rloo"])
@pytest.mark.parametrize(
    "said",
    [
        {"reward_function": "r.py:f"}, {"reward_function": " r.py:f"}, {"reward_function": ["r.py:f"]},
        {"reward_function": "r.py:f", "reward_model_type": "function"}, {"reward-function": "r.py:f"},
        {"extra_arguments": '{"reward_function": "r.py:f"}'}, {"extra_arguments": {"reward_function": "r.py:f"}},
        {"extra_arguments": '{"reward-function": "r.py:f"}'},
    ],
    ids=str,
)  # fmt: skip
def test_no_spelling_lets_a_function_run(site: Site, stage: str, said: dict[str, Any]) -> None:
    made = composed(site, {**GOOD, "stage": stage, "reward_model": "http://127.0.0.1:9/score", **said})
    assert made.complaints and made.recipe is None
    for flag in ("--reward_function", "--reward-function", "--reward_function=r.py:f"):
        words = ["train", "--stage", stage, *(flag.split() if "=" in flag else [flag, "r.py:f"])]
        with pytest.raises(ArgumentError, match="runs no code that the page names"):
            refuse_trust(site, words)
        with pytest.raises(ArgumentError, match="runs no code that the page names"):
            refuse_words(site, words[1:])


def test_a_dataset_is_held_against_the_stage_though_something_else_is_wrong(site: Site) -> None:
    made = composed(site, {**GOOD, "stage": "rm", "learning_rate": "fast"})
    assert "Stage rm needs pairs" in made.by_field["dataset"]
