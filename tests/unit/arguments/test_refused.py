"""Every name of the ecosystem is taken, or refused with a reason; secrets are never taken nor shown."""

from pathlib import Path

import pytest

from studio.arguments.aliases import aliases
from studio.arguments.refused import is_secret, refusals
from studio.arguments.upstream import upstream_fields
from studio.command import read_recipe
from studio.errors import ArgumentError
from studio.recipe import ELSEWHERE, arguments_of_all
from tests.unit.arguments.names import BESIDE, ITEMS, OWN, name_of, value_of

BASE = ["--model_name_or_path", "m", "--dataset", "d", "--output_dir", "o"]
KNOWN = arguments_of_all().keys()
SECRETS = ["hub_token", "hf_hub_token", "ms_hub_token", "om_hub_token", "swanlab_api_key", "swanlab_lark_secret",
           "swanlab_lark_webhook_url", "HF_TOKEN", "wandb-api-key", "token", "my_password"]  # fmt: skip


def told(*words: str) -> str:
    with pytest.raises(ArgumentError) as caught:
        read_recipe([*BASE, *words])
    return "\n".join(caught.value.complaints)


def test_the_table_of_names_is_whole() -> None:
    # 277 fields: two stand in two groups, three are inner ones of an engine whose kt_config is counted instead.
    assert len(OWN) == 273


@pytest.mark.parametrize(
    "item", [f"{group}: {item}" for group, items in ITEMS.items() for item in items.split()], ids=str
)
def test_every_argument_of_the_incumbent_is_taken_with_its_value_or_refused_by_name(item: str) -> None:
    item = item.partition(": ")[2]
    name, value = name_of(item), value_of(item)
    asked = {"model_name_or_path": "m", "dataset": "d", "output_dir": "o", **BESIDE.get(name, {}), name: value}
    words = [f"--{flag}={text}" for flag, text in asked.items()]
    if item.startswith("!"):
        with pytest.raises(ArgumentError) as caught:
            read_recipe(words)
        (sentence,) = caught.value.complaints
        assert sentence.startswith((f"--{name} {value}: not supported: ", f"--{name} is a secret"))
    else:
        _, notes = read_recipe(words)
        assert [note.split()[0] for note in notes] == ([f"--{name}"] if item.startswith("(") else [])


@pytest.mark.parametrize("name", OWN)
def test_every_name_of_the_incumbent_is_taken_or_refused_by_name(name: str) -> None:
    assert name in KNOWN | ELSEWHERE.keys() or name in {**aliases(), **refusals()} or is_secret(name)


@pytest.mark.parametrize("name", upstream_fields())
def test_every_field_of_upstream_is_taken_or_refused_by_name(name: str) -> None:
    assert name in KNOWN or name in {**aliases(), **refusals()} or is_secret(name)


def test_no_name_is_refused_and_taken_at_once() -> None:
    assert not refusals().keys() & (KNOWN | ELSEWHERE.keys() | aliases().keys())


@pytest.mark.parametrize("name", [name for name, refusal in refusals().items() if "*" not in refusal.harmless])
def test_a_refusal_says_why_and_what_to_do(name: str) -> None:
    sentence = told(f"--{name}=something-else")
    assert sentence == f"--{name} something-else: not supported: {refusals()[name].why}."
    assert len(refusals()[name].why) > 20


@pytest.mark.parametrize("name", refusals())
def test_a_harmless_value_is_taken_with_a_note(name: str) -> None:
    for harmless in [*refusals()[name].harmless, "null"]:  # * is a value like any other
        _, notes = read_recipe([*BASE, f"--{name}={harmless}"])
        assert notes == [f"--{name} {harmless} asks for nothing here and is left out: {refusals()[name].fact}."]
        assert "leave it out" not in notes[0]


@pytest.mark.parametrize(
    ("name", "facts"), [(name, upstream_fields()[name]) for name in refusals() if name in upstream_fields()]
)
def test_the_value_upstream_has_by_itself_is_harmless(name: str, facts: dict[str, object]) -> None:
    assert refusals()[name].asks_nothing(facts["default"])


@pytest.mark.parametrize("value", ["False", "false", "0", "0.0", "no", ""])
def test_off_may_be_written_in_many_ways(value: str) -> None:
    assert read_recipe([*BASE, f"--use_unsloth={value}"])[1]


@pytest.mark.parametrize("value", ["16", "16.0"])
def test_a_harmless_number_may_be_written_in_many_ways(value: str) -> None:
    assert read_recipe([*BASE, "--galore_rank", value])[1]


def test_a_bare_flag_asks_for_something() -> None:
    assert told("--use_unsloth").startswith("--use_unsloth True: not supported: ")


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_refused_and_never_shown(name: str, tmp_path: Path) -> None:
    value = "hf_abcdefSECRET"
    (tmp_path / "run.yaml").write_text(f"{name}: {value}\n", encoding="utf-8")
    (tmp_path / "run.json").write_text(f'{{"{name}": "{value}"}}', encoding="utf-8")
    ways = [
        [*BASE, f"--{name}", value],
        [*BASE, f"--{name}={value}"],
        [*BASE, f"--{name}", value, f"--{name}", value],
        [str(tmp_path / "run.yaml"), *BASE],
        [str(tmp_path / "run.json"), *BASE],
        [f"{name}={value}", *BASE],
    ]
    for words in ways:
        with pytest.raises(ArgumentError) as caught:
            read_recipe(words)
        assert "is a secret and must never stand in a command or a file" in str(caught.value)
        assert value not in str(caught.value)


@pytest.mark.parametrize("name", ["eos_token", "pad_token", "add_tokens", "max_new_tokens", "save_total_limit"])
def test_what_only_sounds_like_a_secret_is_none(name: str) -> None:
    assert not is_secret(name)


def test_an_argument_of_another_verb_is_taken_with_a_note() -> None:
    _, notes = read_recipe([*BASE, "--export_dir", "x", "--temperature", "0.5"])
    assert notes == [
        "--export_dir is an argument of studio export and asks for nothing here.",
        "--temperature is an argument of studio chat and asks for nothing here.",
    ]
