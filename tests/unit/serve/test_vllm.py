"""The calls that reach vLLM, seen by a stand-in with its names: the package itself needs a GPU."""

import asyncio
import os
import sys
import threading
import types
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from studio.arguments.generation import GenerationArguments
from studio.arguments.serve import EngineArguments
from studio.errors import StudioError, UsageError
from studio.model.answer import BusyError, EndedError, TooLongError
from studio.model.prompting import Prompter
from studio.model.tokenizer import open_tokenizer
from studio.serve.vllm import VllmEngine


class Kept(SimpleNamespace):
    """Keeps what it was called with."""


FAILURES = {98: RuntimeError("engine dead"), 97: KeyError("request"), 96: OSError("no pipe")}


class StandIn:
    """Says three pieces, or waits, or fails, by what the prompt is long."""

    def __init__(self, arguments: Kept) -> None:
        self.arguments, self.asked, self.left, self.down = arguments, [], [], False

    @classmethod
    def from_engine_args(cls, arguments: Kept) -> "StandIn":
        if arguments.max_num_seqs == 7:
            raise ValueError("seven is too many")
        return cls(arguments)

    async def generate(self, prompt: Any, params: Any, name: str, lora_request: Any = None) -> AsyncIterator[Any]:
        self.asked.append((prompt, params, lora_request))
        try:
            for number, text in enumerate(("one", " two", " three")):
                if params.max_tokens == 99:
                    await asyncio.sleep(30)
                if params.max_tokens in FAILURES:
                    raise FAILURES[params.max_tokens]
                if params.max_tokens == 95:
                    return
                reason = {2: "length" if params.max_tokens == 3 else "stop"}.get(number)
                yield Kept(outputs=[Kept(text=text, token_ids=[number], finish_reason=reason)])
        finally:
            self.left.append(name)

    def shutdown(self) -> None:
        self.down = True


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of that name with what we call of it."""
    made = {
        "vllm": {"AsyncEngineArgs": Kept, "TokensPrompt": Kept, "SamplingParams": Kept},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": lambda name, number, path: (name, number, path)},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": StandIn},
        "vllm.sampling_params": {"RequestOutputKind": Kept(DELTA="delta")},
    }
    for name, parts in made.items():
        module = types.ModuleType(name)
        module.__dict__.update(parts)
        module.__spec__ = SimpleNamespace(name=name)  # type: ignore[assignment]
        monkeypatch.setitem(sys.modules, name, module)
    yield


@pytest.fixture
def prompter(tiny_chat_model: Path, tmp_path: Path) -> Prompter:
    return Prompter(open_tokenizer(tiny_chat_model, tmp_path), None, 64)


def engine(prompter: Prompter, adapter: Path | None = None, **asked: Any) -> VllmEngine:
    return VllmEngine(Path("/models/base"), adapter, prompter, EngineArguments(**asked), waiting=0)


def test_arguments_reach_the_engine(vllm: None, prompter: Prompter) -> None:
    asked = {"vllm_gpu_util": 0.5, "vllm_enforce_eager": True, "vllm_config": {"seed": 3}, "max_concurrent": 2}
    running = engine(prompter, Path("/runs/adapter"), **asked)
    found = running._engine.arguments
    assert (found.model, found.max_model_len, found.max_num_seqs) == ("/models/base", 64, 2)
    assert (found.gpu_memory_utilization, found.enforce_eager, found.seed) == (0.5, True, 3)
    assert (found.enable_lora, found.max_lora_rank, found.trust_remote_code) == (True, 32, False)
    running.start("x", GenerationArguments()).text()
    assert running._engine.asked[0][2] == ("adapter", 1, "/runs/adapter")
    running.stop()
    assert running._engine.down
    running.stop()


def test_an_answer_comes_in_pieces_and_ends_with_its_reason(vllm: None, prompter: Prompter) -> None:
    running = engine(prompter)
    asked = GenerationArguments(do_sample=True, temperature=0.5, top_p=0.9, top_k=4, max_new_tokens=3)
    answer = running.start("hello", asked, stop=("\n",), seed=8)
    assert answer.text() == "one two three"
    assert (answer.reason, answer.completion_tokens) == ("length", 3)
    prompt, params, _ = running._engine.asked[0]
    assert prompt.prompt_token_ids == prompter.encode("hello", plain=True)
    assert (params.temperature, params.top_p, params.top_k, params.seed, params.stop) == (0.5, 0.9, 4, 8, ["\n"])
    assert params.stop_token_ids == sorted(prompter.stop_ids)
    greedy = running.start("hello", GenerationArguments(temperature=0.5))
    assert greedy.text() == "one two three"
    assert greedy.reason == "stop"
    assert running._engine.asked[1][1].temperature == 0.0
    running.stop()


def test_refusals_are_those_of_our_own_engine(vllm: None, prompter: Prompter) -> None:
    running = engine(prompter, max_concurrent=1)
    with pytest.raises(TooLongError):
        running.start("7" * 100, GenerationArguments())
    waits = running.start("x", GenerationArguments(max_new_tokens=99))
    with pytest.raises(BusyError):
        running.start("x", GenerationArguments())
    waits.cancel()
    assert waits.text() == ""
    assert waits.reason == "cancelled"
    running.stop()
    with pytest.raises(EndedError):
        running.start("x", GenerationArguments())


def test_a_failure_is_told(vllm: None, prompter: Prompter) -> None:
    with pytest.raises(StudioError, match="vLLM cannot start with this model and these settings: seven"):
        engine(prompter, max_concurrent=7)
    running = engine(prompter)
    with pytest.raises(StudioError, match="vLLM failed while answering: engine dead"):
        running.start("x", GenerationArguments(max_new_tokens=98)).text()
    running.stop()


@pytest.mark.parametrize(("tokens", "reason"), [(97, "request"), (96, "no pipe"), (95, "did not say why")])
def test_every_answer_has_an_end(vllm: None, prompter: Prompter, tokens: int, reason: str) -> None:
    running = engine(prompter)
    with pytest.raises(StudioError, match=f"vLLM failed while answering: .*{reason}"):
        running.start("x", GenerationArguments(max_new_tokens=tokens)).text()
    running.stop()


def test_an_answer_that_is_cancelled_before_its_first_step_leaves_its_place(vllm: None, prompter: Prompter) -> None:
    running = engine(prompter, max_concurrent=1)
    held, free = threading.Event(), threading.Event()
    running._loop.call_soon_threadsafe(lambda: (held.set(), free.wait(10)))
    assert held.wait(10)
    gone = running.start("x", GenerationArguments())
    gone.cancel()
    free.set()
    assert gone.text() == ""
    assert (gone.reason, running.active) == ("cancelled", 0)
    assert running.start("x", GenerationArguments()).text() == "one two three"
    running.stop()


@pytest.mark.parametrize("name", ["model", "tokenizer", "trust_remote_code", "load_format"])
def test_what_is_loaded_is_not_changed_behind_the_studios_back(vllm: None, prompter: Prompter, name: str) -> None:
    with pytest.raises(UsageError, match=f"--vllm_config may not set {name}"):
        engine(prompter, vllm_config={name: "other"})


def test_code_of_a_model_is_trusted_only_when_it_was_asked_for(vllm: None, prompter: Prompter) -> None:
    running = VllmEngine(Path("/models/base"), None, prompter, EngineArguments(), waiting=0, trust=True)
    assert running._engine.arguments.trust_remote_code
    assert running._engine.arguments.load_format == "safetensors"
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"
    running.stop()
