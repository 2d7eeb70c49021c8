"""vLLM behind the same calls as the studio's own engine: its scheduler, its kernels, our prompts."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from studio.arguments.generation import GenerationArguments
from studio.arguments.serve import EngineArguments
from studio.errors import StudioError, UsageError
from studio.model.answer import Answer, BusyError, Conversation, EndedError
from studio.model.prompting import Prompter

# Settings of vLLM's engine that are the studio's: what is loaded, and that loading runs nobody's code.
OURS = {
    "model": "--model_name_or_path",
    "tokenizer": "--tokenizer_name_or_path",
    "trust_remote_code": "--trust_remote_code",
    "load_format": "safetensors, which can run nothing",
}


class VllmEngine:
    """Answers from vLLM, which runs in an event loop of its own."""

    def __init__(
        self,
        base: Path,
        adapter: Path | None,
        prompter: Prompter,
        asked: EngineArguments,
        *,
        waiting: int,
        trust: bool = False,
    ) -> None:
        check_installed()
        if taken := next((name for name in OURS if name in asked.vllm_config), ""):
            raise UsageError(f"--vllm_config may not set {taken}: that is {OURS[taken]}. Take it out.")
        # What this machine does is nobody else's business, unless its owner says so.
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import AsyncEngineArgs
        from vllm.lora.request import LoRARequest
        from vllm.v1.engine.async_llm import AsyncLLM

        self._prompter, self._most = prompter, asked.max_concurrent + waiting
        self._adapter = LoRARequest("adapter", 1, str(adapter)) if adapter is not None else None
        settings = {
            "model": str(base),
            "tokenizer": str(prompter.tokenizer.folder),
            "dtype": asked.infer_dtype,
            "max_model_len": min(asked.vllm_maxlen, prompter.context or asked.vllm_maxlen),
            "gpu_memory_utilization": asked.vllm_gpu_util,
            "enforce_eager": asked.vllm_enforce_eager,
            "max_num_seqs": asked.max_concurrent,
            "enable_lora": adapter is not None,
            "max_lora_rank": asked.vllm_max_lora_rank,
            "load_format": "safetensors",
            "trust_remote_code": trust,
            **asked.vllm_config,
        }
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name="vllm", daemon=True)
        self._thread.start()
        self._running: set[Answer] = set()
        self._ended = False
        made = asyncio.run_coroutine_threadsafe(_made(AsyncLLM, AsyncEngineArgs, settings), self._loop)
        try:
            self._engine: Any = made.result()
        except StudioError:
            self._end_loop()
            raise

    @property
    def active(self) -> int:
        """Answers that are being written or wait for their turn."""
        return sum(not answer.reason for answer in list(self._running))

    @property
    def most(self) -> int:
        """As many answers as there may be at once, those included that wait."""
        return self._most

    @property
    def alive(self) -> bool:
        """Whether new answers can begin."""
        return not self._ended

    def start(
        self,
        conversation: Conversation,
        asked: GenerationArguments,
        *,
        tools: list[dict[str, Any]] | None = None,
        stop: Sequence[str] = (),
        seed: int | None = None,
    ) -> Answer:
        """Begin an answer: as studio.model.answer.Engine says."""
        if asked.no_repeat_ngram_size:
            raise UsageError("no_repeat_ngram_size: vLLM has none; leave it out, or use repetition_penalty.")
        text = self._prompter.prompt(conversation, tools)
        ids = self._prompter.encode(text, plain=isinstance(conversation, str))
        if self._ended:
            raise EndedError("the model has been let go and answers nothing more. Start it again.")
        if self.active >= self._most:
            raise BusyError(f"{self.active} requests are being answered or wait already. Ask again in a moment.")
        answer = Answer(len(ids), text)
        params = self._params(asked, [*self._prompter.stop_texts, *stop], seed, keep_special=bool(tools))
        self._running.add(answer)
        future = asyncio.run_coroutine_threadsafe(self._write(answer, ids, params), self._loop)
        # Its cancelling ends the generator, and with it the request inside vLLM.
        answer.begin(future.cancel)
        future.add_done_callback(lambda done: self._over(answer, done))
        return answer

    def _over(self, answer: Answer, done: Future[None]) -> None:
        """Every answer has an end, also one that was cancelled before its first step."""
        self._running.discard(answer)
        if done.cancelled():
            answer.end("cancelled")
            return
        error = done.exception()
        why = " ".join(str(error).split())[:200] if error else "it gave no more and did not say why"
        answer.end("cancelled", StudioError(f"vLLM failed while answering: {why or type(error).__name__}"))

    def stop(self) -> None:
        """Cancel everything and end; a second call does nothing."""
        if self._ended:
            return
        self._ended = True
        for answer in list(self._running):
            answer.end("cancelled", EndedError("the model has been let go before the answer was done. Ask again."))
            answer.cancel()
        self._end_loop()
        self._engine.shutdown()

    def _turn(self) -> None:
        """Run the loop until it is stopped, then let what is left in it leave."""
        self._loop.run_forever()
        self._loop.run_until_complete(_leave())
        self._loop.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _write(self, answer: Answer, ids: list[int], params: Any) -> None:
        from vllm import TokensPrompt

        prompt = TokensPrompt(prompt_token_ids=ids)
        written = 0
        async for output in self._engine.generate(prompt, params, str(id(answer)), lora_request=self._adapter):
            part = output.outputs[0]
            written += len(part.token_ids)
            answer.add(part.text, written)
            if part.finish_reason:
                answer.end("length" if part.finish_reason == "length" else "stop")

    def _params(self, asked: GenerationArguments, stop: list[str], seed: int | None, *, keep_special: bool) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            temperature=asked.temperature if asked.do_sample else 0.0,
            top_p=asked.top_p if asked.do_sample else 1.0,
            top_k=asked.top_k if asked.do_sample else 0,
            repetition_penalty=asked.repetition_penalty,
            presence_penalty=asked.presence_penalty,
            frequency_penalty=asked.frequency_penalty,
            max_tokens=asked.max_new_tokens,
            seed=seed,
            stop=stop,
            stop_token_ids=sorted(self._prompter.stop_ids),
            skip_special_tokens=not keep_special,
            output_kind=RequestOutputKind.DELTA,
        )


def check_installed() -> None:
    """Raises UsageError with what to do when vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise UsageError(
            "--infer_backend vllm: the package vllm is not installed. Install it with pip install 'studio[vllm]' on a "
            "machine with a GPU, or leave --infer_backend out."
        )


async def _leave() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _made(kind: Any, arguments: Any, settings: dict[str, Any]) -> Any:
    # Inside the loop: the engine ties itself to the one in which it is made.
    try:
        return kind.from_engine_args(arguments(**settings))
    except (TypeError, ValueError, RuntimeError) as error:
        raise StudioError(f"vLLM cannot start with this model and these settings: {error}") from error
