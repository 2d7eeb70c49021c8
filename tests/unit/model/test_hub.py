"""What is fetched from a hub, and what is said when it gives nothing: against a hub on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.model.asking import Refused, Unreachable, shown, within
from studio.model.hub import DATA_ENDINGS, data_patterns
from studio.model.snapshots import File, Store
from tests.unit.model.fake_hub import FakeHub

# Asks as often as it is told, so that the client is loaded once; each call has an environment of its own.
WORKER = """
import contextlib, io, json, os, sys
from pathlib import Path
from studio.errors import StudioError
from studio.model.hub import fetch_dataset, fetch_model, list_dataset
for line in sys.stdin:
    asked = json.loads(line)
    plain, notes, told = dict(os.environ), io.StringIO(), {}
    os.environ.update(asked["environment"])
    try:
        with contextlib.redirect_stderr(notes):
            if asked.get("list"):
                told["names"] = list_dataset(asked["name"], where=asked["where"], revision=asked["revision"],
                                             cache=Path(asked["cache"]))
                path = Path(asked["cache"]) / "nothing"
            elif asked["where"]:
                path = fetch_dataset(asked["name"], where=asked["where"], revision=asked["revision"],
                                     patterns=asked["patterns"], cache=Path(asked["cache"]))
            else:
                path = fetch_model(asked["name"], asked["revision"], Path(asked["cache"]), "")
        told["files"] = {str(p.relative_to(path)): p.read_text() for p in sorted(path.rglob("*")) if p.is_file()}
    except StudioError as error:
        told["error"] = str(error)
        told["kind"] = type(error).__name__
    told["notes"] = notes.getvalue()
    os.environ.clear()
    os.environ.update(plain)
    print(json.dumps(told), flush=True)
"""
WEIGHTS = {"config.json": b'{"model_type": "qwen2"}', "model.safetensors": b"weights" * 1000}
MODEL = {
    **WEIGHTS,
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "consolidated.safetensors": b"the same again",
    "modeling_own.py": b"import os",
    "original/params.json": b"{}",
    "README.md": b"# tiny",
}
DATA = {
    "train.jsonl": b'{"text": "a"}\n' * 500,
    "data/test.csv": b"text\nb\n",
    "load.py": b"import os",
    "rows.pkl": b"a pickle",
    "dataset_infos.json": b"{}",
    "README.md": b"# rows",
}
FETCHED_MODEL = {"config.json", "model.safetensors", "tokenizer.json"}
MODELSCOPE = {"USE_MODELSCOPE_HUB": "1"}
BOTH = pytest.mark.parametrize("hub_env", [{}, MODELSCOPE], ids=["hf", "ms"])


@pytest.fixture(scope="module")
def hub() -> Iterator[FakeHub]:
    repositories = {f"org/{name}": MODEL for name in ("tiny", "again", "cut", "wrong", "late-gated")}
    repositories |= {"org/rows": DATA, "org/rows-cut": DATA, "org/pickled": {"config.json": b"{}", "a.bin": b"x"}}
    made = FakeHub({**repositories, "org/empty": {"README.md": b""}, "org/evil": {"../../evil.json": b"x", **MODEL}})
    yield made
    made.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the caches lie."""
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def ask(hub: FakeHub, home: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """`ask("org/tiny", where="", ...)`: what the worker gets, or is told."""
    dropped = ("HF_", "TRANSFORMERS_", "MODELSCOPE_", "USE_")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    named = {"HF_ENDPOINT": hub.address, "MODELSCOPE_ENDPOINT": hub.address, "HF_HOME": str(home / "home")}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**plain, **named},
        cwd=Path(__file__).parents[3],
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None

        def one(name: str, *, where: str = "", cache: str = "cache", **more: Any) -> dict[str, Any]:
            asked = {"name": name, "where": where, "revision": "main", "patterns": [], "cache": str(home / cache)}
            asked |= {"environment": more.pop("environment", {}), **more}
            worker.stdin.write(json.dumps(asked) + "\n")
            worker.stdin.flush()
            answer: dict[str, Any] = json.loads(worker.stdout.readline())
            return answer

        yield one
        worker.stdin.close()


Ask = Callable[..., dict[str, Any]]


@BOTH
def test_of_a_model_only_weights_and_small_texts_are_fetched(ask: Ask, hub: FakeHub, hub_env: dict[str, str]) -> None:
    got = ask("org/tiny", environment=hub_env)
    assert set(got["files"]) == FETCHED_MODEL
    assert got["files"]["model.safetensors"] == WEIGHTS["model.safetensors"].decode()
    assert f"fetching org/tiny, 7,025 bytes, from {hub.address}" in got["notes"]
    assert not [line for line in hub.asked if ".bin" in line or ".py" in line]


@BOTH
def test_a_second_time_nothing_is_fetched(ask: Ask, hub: FakeHub, hub_env: dict[str, str]) -> None:
    ask("org/again", environment=hub_env)
    seen = len(hub.asked)
    assert set(ask("org/again", environment=hub_env)["files"]) == FETCHED_MODEL
    assert not [line for line in hub.asked[seen:] if "safetensors" in line and line.startswith("GET")]


@BOTH
def test_offline_by_choice_the_earlier_copy_is_used_and_told(ask: Ask, hub_env: dict[str, str]) -> None:
    ask("org/tiny", environment=hub_env)
    got = ask("org/tiny", environment={**hub_env, "HF_HUB_OFFLINE": "1"})
    assert set(got["files"]) == FETCHED_MODEL
    assert "as it was fetched earlier is used" in got["notes"]
    assert "HF_HUB_OFFLINE is set" in got["notes"]


@BOTH
def test_offline_by_choice_nobody_is_asked(ask: Ask, hub: FakeHub, hub_env: dict[str, str]) -> None:
    seen = len(hub.asked)
    got = ask("org/unseen", environment={**hub_env, "HF_HUB_OFFLINE": "1"})
    assert got["kind"] == "ModelError"
    error = got["error"].replace(" (which counts for ModelScope too)", "")
    assert ("USE_MODELSCOPE_HUB" in hub_env) == (error != got["error"])
    assert "HF_HUB_OFFLINE is set, and it is not in the cache. A model on this machine needs no hub" in error
    assert "name it as models/<name>" in got["error"]
    assert len(hub.asked) == seen


REFUSALS = [
    ("org/gone", {}, "has no model 'org/gone' for you (answer 404). Check the spelling"),
    ("org/private", {}, "for a private one set HF_TOKEN"),
    ("org/private", {"HF_TOKEN": "hf_x"}, "the token that is set gives no right to it"),
    ("org/gated", {}, "no token is set. Ask for access on that page, then set HF_TOKEN"),
    ("org/late-gated", {"HF_TOKEN": "hf_x"}, "belongs to an account without it"),
    ("org/trouble", {}, "it answers 503"),
    ("org/login", {}, "does not speak as a hub does"),
    ("org/pickled", {}, "only as a.bin, and pickled files are never fetched"),
    ("org/empty", {}, "no weights in safetensors files. It has: README.md."),
    ("org/un--known!", {}, "is no name of a repository"),
    ("org/gone", MODELSCOPE, "(answer 404). Check the spelling; for a private one set MODELSCOPE_API_TOKEN"),
    ("org/private", MODELSCOPE, "Ask for access on that page, then set MODELSCOPE_API_TOKEN"),
    ("org/gated", MODELSCOPE, "given only to accounts with a right to it (answer 403)"),
    ("org/trouble", MODELSCOPE, "it answers 503"),
    ("org/login", MODELSCOPE, "does not speak as ModelScope does"),
    ("org/pickled", MODELSCOPE, "--convert_pickle True"),
    ("org/evil", {"where": "ms"}, "would lie outside its folder"),
    ("org/evil", {"where": "hf"}, "would lie outside its folder"),
    ("org/wrong", MODELSCOPE, "in place of"),
    ("org/tiny", {"USE_OPENMIND_HUB": "1"}, "Unset it"),
]


@pytest.mark.parametrize(("name", "environment", "said"), REFUSALS)
def test_a_hub_that_gives_nothing_is_told_with_what_to_do(
    ask: Ask, name: str, environment: dict[str, str], said: str
) -> None:
    where = environment.get("where", "")
    got = ask(name, where=where, environment={k: v for k, v in environment.items() if k != "where"})
    assert said in got["error"]
    assert "models/<name>" in got["error"] or "file_name" in got["error"]


@BOTH
def test_a_revision_that_is_not_there_is_told(ask: Ask, hub_env: dict[str, str]) -> None:
    assert "'v9'" in ask("org/tiny", revision="v9", cache="revisions", environment=hub_env)["error"]


def test_the_address_that_was_asked_is_named_without_its_password(ask: Ask, hub: FakeHub) -> None:
    assert hub.address in ask("org/trouble")["error"]
    assert shown("https://me:secret@mirror.example:8443/hf") == "https://mirror.example:8443/hf"


def test_nobody_there_is_told_with_the_address_and_the_local_way(ask: Ask) -> None:
    dead = {**MODELSCOPE, "MODELSCOPE_ENDPOINT": "http://127.0.0.1:9"}
    got = ask("org/tiny", cache="other", environment=dead)
    assert "http://127.0.0.1:9: " in got["error"]
    assert "models/<name>" in got["error"]


@pytest.mark.parametrize("address", ["http://[", "mirror.example", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_told(ask: Ask, address: str) -> None:
    got = ask("org/tiny", cache="none", environment={**MODELSCOPE, "MODELSCOPE_ENDPOINT": address})
    assert "models/<name>" in got["error"]


@BOTH
def test_a_download_that_breaks_off_goes_on_where_it_stood(ask: Ask, hub: FakeHub, hub_env: dict[str, str]) -> None:
    hub.broken.clear()
    got = ask("org/cut", environment=hub_env)
    assert got["files"]["model.safetensors"] == WEIGHTS["model.safetensors"].decode()
    if hub_env:
        assert any(headers.get("Range", "").startswith("bytes=3500-") for headers in hub.headers)


@pytest.mark.parametrize("where", ["hf", "ms"])
def test_of_a_dataset_only_data_files_are_fetched(ask: Ask, where: str) -> None:
    got = ask("org/rows", where=where)
    assert set(got["files"]) == {"train.jsonl", "data/test.csv"}


@pytest.mark.parametrize("where", ["hf", "ms"])
def test_a_dataset_gives_the_files_that_are_asked_for(ask: Ask, where: str) -> None:
    assert "data/test.csv" in ask("org/rows", where=where, patterns=["data/*"])["files"]
    alone = ask("org/rows", where=where, patterns=["train.jsonl"], cache="alone")
    assert set(alone["files"]) == {"train.jsonl"}
    offline = {"HF_HUB_OFFLINE": "1"}
    assert set(ask("org/rows", where=where, patterns=["train.jsonl"], cache="alone", environment=offline)["files"]) == {
        "train.jsonl"
    }
    more = ask("org/rows", where=where, patterns=["data/*"], cache="alone", environment=offline)
    assert "not in the cache" in more["error"]
    assert "file_name" in more["error"]


@pytest.mark.parametrize("where", ["hf", "ms"])
def test_without_the_hub_a_list_is_that_of_the_time_when_something_was_fetched(ask: Ask, where: str) -> None:
    offline, cache = {"HF_HUB_OFFLINE": "1"}, f"listed-{where}"
    whole = ["data/test.csv", "train.jsonl"]
    assert ask("org/rows", where=where, list=True, cache=cache)["names"] == whole
    assert "not in the cache" in ask("org/rows", where=where, list=True, cache=cache, environment=offline)["error"]
    ask("org/rows", where=where, patterns=["train.jsonl"], cache=cache)
    told = ask("org/rows", where=where, list=True, cache=cache, environment=offline)
    assert (told["names"], told["notes"]) == (whole, "")
    got = ask("org/rows", where=where, patterns=whole, cache=cache, environment=offline)
    assert "not in the cache" in got["error"]


def test_where_no_list_was_kept_it_is_told_that_files_may_lack(ask: Ask, home: Path) -> None:
    ask("org/rows", where="ms", patterns=["train.jsonl"], cache="unlisted")
    shutil.rmtree(next((home / "unlisted").rglob("lists")))
    told = ask("org/rows", where="ms", list=True, cache="unlisted", environment={"HF_HUB_OFFLINE": "1"})
    assert told["names"] == ["train.jsonl"]
    assert "only those that were fetched earlier are known (train.jsonl)" in told["notes"]


def test_a_file_without_a_checksum_is_another_one_in_another_commit() -> None:
    first, second = (File("a.json", 25, "", commit) for commit in ("c1", "c2"))
    assert first.blob != second.blob
    assert File("a.json", 25, "ab" * 32, "c1").blob == File("b.json", 25, "ab" * 32, "c2").blob


@pytest.mark.parametrize("where", ["hf", "ms"])
def test_patterns_that_match_nothing_are_told_with_what_is_there(ask: Ask, where: str) -> None:
    got = ask("org/rows", where=where, patterns=["valid.jsonl"], cache="none")
    assert got["kind"] == "DatasetError"
    assert "The data files there: " in got["error"]
    assert "train.jsonl" in got["error"]


@pytest.mark.parametrize("pattern", ["rows.pkl", "load.py", "model.bin"])
def test_a_pattern_can_match_nothing_but_data(pattern: str) -> None:
    with pytest.raises(Refused, match="is no data file"):
        data_patterns([pattern])
    assert all(one.endswith(DATA_ENDINGS) for one in data_patterns(["*", "a/", "x.jsonl"]))


def test_the_token_of_modelscope_goes_to_modelscope(ask: Ask, hub: FakeHub) -> None:
    ask("org/tiny", cache="token", environment={**MODELSCOPE, "MODELSCOPE_API_TOKEN": "ms-secret"})
    assert hub.headers[-1]["Authorization"] == "Bearer ms-secret"


def test_a_file_that_never_ends_is_given_up(tmp_path: Path) -> None:
    sent = []

    def blocks() -> Iterator[bytes]:
        for number in range(10_000):
            sent.append(number)
            yield bytes(10)

    @contextlib.contextmanager
    def opened(_: File, __: int) -> Iterator[tuple[bool, Iterable[bytes]]]:
        yield False, blocks()

    with pytest.raises(Refused, match=r"a\.json came with 30 bytes in place of 25"):
        Store(tmp_path).fetch([File("a.json", 25, "")], "main", opened, "org/endless")
    assert len(sent) == 3


def test_an_answer_that_does_not_come_is_given_up() -> None:
    end = threading.Event()
    with pytest.raises(Unreachable, match=r"no answer within 0\.05 s"):
        within(0.05, end.wait)
    end.set()


@pytest.mark.slow
@pytest.mark.parametrize("hub_env", [{}, MODELSCOPE], ids=["hf", "ms"])
@pytest.mark.parametrize("name", ["org/never", "org/slow"])
def test_a_hub_that_never_ends_its_answer_is_given_up(ask: Ask, name: str, hub_env: dict[str, str]) -> None:
    assert "no answer within 10 s" in ask(name, environment=hub_env)["error"]
