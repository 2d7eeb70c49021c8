"""vLLM as the writer of answers, beside the model that learns; an optional extra that was never run here.

It holds the base a second time and gets the adapter anew before each step, by way of a folder.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from studio.loop.parts import Parts
from studio.loop.rollout import RolloutStopped, Written
from studio.material import Material
from studio.recipe import Recipe
from studio.rules.methods import goes_on


def complaints(recipe: Recipe, material: Material) -> list[str]:
    """Why vLLM cannot write the answers of a run: it gets the base by its folder and a plain adapter, nothing else."""
    method, merged = recipe.method, len(material.adapters) - goes_on(recipe)
    reasons = {
        "the package vllm is not installed. Install it, or use --ppo_engine own.":
            importlib.util.find_spec("vllm") is None,
        "gets a new adapter before each step; other methods would move all weights each time. Use --finetuning_type "
        "lora, or --ppo_engine own.": method.finetuning_type != "lora",
        "loads the base from its folder, as it was before other adapters went into it or its config changed. Merge "
        "these first with studio export, or use --ppo_engine own.": merged > 0 or bool(material.changes),
        "takes plain adapters, without --pissa_init, --use_dora, --additional_target and --trainable_token_indices. "
        "Leave them out, or use --ppo_engine own.": method.pissa_init or method.use_dora
            or bool(method.additional_target or method.trainable_token_indices),
    }  # fmt: skip
    return [f"--ppo_engine vllm: {told}" for told, holds in reasons.items() if holds]


class VllmWriter:
    """Writes answers with vLLM, where `complaints` has none."""

    def __init__(self, model: Any, own: Any, stop_ids: Sequence[int], parts: Parts) -> None:
        import vllm

        self._model, self._own, self._stops, self._step = model, own, list(stop_ids), 0
        self._room = tempfile.TemporaryDirectory(prefix="studio-adapter-")
        self._engine: Any = vllm.LLM(
            model=str(parts.material.folder),
            tokenizer=str(parts.material.tokenizer.folder),
            enable_lora=True,
            max_lora_rank=max(parts.recipe.method.lora_rank, 8),
            gpu_memory_utilization=0.4,
            load_format="safetensors",
            trust_remote_code=False,
        )

    def write(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[int], halt: Callable[[], bool], together: int
    ) -> list[Written]:
        """An answer to each prompt; a stop is heard before and after, not within."""
        from vllm import SamplingParams
        from vllm.lora.request import LoRARequest

        if halt():
            raise RolloutStopped
        self._step += 1
        folder = Path(self._room.name) / str(self._step)
        self._model.save_pretrained(str(folder), selected_adapters=[self._model.active_adapter])
        own = self._own
        asked = [
            SamplingParams(
                temperature=own.temperature, top_p=own.top_p, top_k=own.top_k or -1, max_tokens=own.max_new_tokens,
                stop_token_ids=self._stops, seed=seed, detokenize=False,
            )
            for seed in seeds
        ]  # fmt: skip
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        lora = LoRARequest(f"step-{self._step}", self._step, str(folder))
        found = cast(Any, self._engine).generate(inputs, asked, lora_request=lora, use_tqdm=False)
        shutil.rmtree(folder)
        if halt():
            raise RolloutStopped
        rows = [list(each.outputs[0].token_ids) for each in found]
        return [Written(row, bool(row) and row[-1] in self._stops) for row in rows]
