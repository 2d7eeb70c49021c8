"""A model that is loaded as a job: where it answers, who may ask it, and that its process goes when it is let go."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest

from studio.jobs.identity import see
from studio.jobs.job import Job
from studio.jobs.store import folder_of
from studio.workspace import Workspace
from tests.flow.jobbing import Bench, until
from tests.flow.parrot import SONG, write_parrot

WORDS = ("--port", "0")


@pytest.fixture(scope="module")
def bench(
    make_workspace: Callable[[Path], Workspace], tiny_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("serve") / "workspace"
    write_parrot(make_workspace(root).models / "parrot", tiny_tokenizer_folder)
    made = Bench(root)
    made.work(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    yield made
    made.close()


def load(bench: Bench, model: str) -> Job:
    return bench.store.submit("serve", ["api", "--model_name_or_path", model, *WORDS], title=model)


def test_a_loaded_model_answers_who_has_its_key_and_leaves_when_it_is_let_go(bench: Bench) -> None:
    job = load(bench, "models/parrot")
    folder = folder_of(bench.place, job.id)
    until(lambda: (folder / "endpoint.json").exists(), lambda: bench.story(job.id))
    told = json.loads((folder / "endpoint.json").read_text())
    assert told["names"] == ["parrot"]
    assert told["url"].startswith("http://127.0.0.1:")
    assert (folder / "key").stat().st_mode & 0o077 == 0
    key = (folder / "key").read_text()
    running = bench.wait(job.id, "running")
    assert key not in json.dumps([running.argv, running.environment])
    ask = [{"role": "user", "content": "canary"}]
    client = openai.OpenAI(base_url=told["url"], api_key=key, max_retries=0, timeout=60)
    answer = client.chat.completions.create(model="parrot", messages=ask, max_tokens=3)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "".join(SONG[:3])
    more = {"add_generation_prompt": False, "continue_final_message": True}
    begun = [*ask, {"role": "assistant", "content": "".join(SONG[:3])}]
    on = client.chat.completions.create(model="parrot", messages=begun, max_tokens=2, extra_body=more)  # type: ignore[arg-type]
    assert on.choices[0].message.content == "".join(SONG[3:5])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=told["url"], api_key="wrong", max_retries=0).models.list()
    assert running.process is not None
    bench.store.wish(job.id, "stop")
    ended = bench.wait(job.id, "stopped", "succeeded", "failed", "killed", "lost")
    assert (ended.state in ("stopped", "succeeded"), ended.exit_code) == (True, 0), bench.story(job.id)
    assert see(running.process.pid) is None
    until(lambda: not bench.processes(job.id), lambda: bench.story(job.id))
    log = (folder / "log.txt").read_text()
    assert key not in log
    assert "canary" not in log


def test_being_let_go_while_it_loads_is_no_failure(bench: Bench) -> None:
    job = load(bench, "models/parrot")
    bench.wait(job.id, "running")
    bench.store.wish(job.id, "stop")
    ended = bench.wait(job.id, "stopped", "succeeded", "failed", "killed", "lost")
    assert ended.state in ("stopped", "succeeded"), bench.story(job.id)


def test_a_model_that_is_not_there_fails_with_the_sentence(bench: Bench) -> None:
    job = load(bench, "models/nothing")
    ended = bench.wait(job.id, "failed")
    assert ended.reason == "missing_file", bench.story(job.id)
    assert not (folder_of(bench.place, job.id) / "endpoint.json").exists()
