"""An adapter merged is the adapter; one learned on a rounded base is close to one learned on the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers

from studio.workspace import Workspace
from tests.fidelity.plain import Rows, fresh, losses, previewed

LEARNED = {"learning_rate": 2e-2, "lora_rank": 8}


@pytest.fixture(scope="module")
def rows(place: Workspace, command: Any) -> Rows:
    return previewed(place, command, "tiny_sft")


@pytest.mark.parametrize(
    "more",
    [{}, {"use_rslora": "True"}, {"use_dora": "True"}, {"trainable_token_indices": "100-139"}],
    ids=["lora", "rslora", "dora", "new rows"],
)
def test_merged_weights_answer_as_the_adapter_does(
    place: Workspace, train: Any, command: Any, rows: Rows, record: Any, more: dict[str, str]
):
    from peft import PeftModel

    name = next(iter(more), "lora").removeprefix("use_").replace("trainable_token_indices", "new_rows")
    done = train(place, f"saves/{name}", **LEARNED, **more)
    assert done.code == 0, done.err
    words = f"export --model_name_or_path models/tiny-chat --adapter_name_or_path saves/{name}"
    done = command(place, *words.split(), f"--export_dir=saves/{name}_merged")
    assert done.code == 0, done.err
    base = fresh(place).eval()
    merged = transformers.AutoModelForCausalLM.from_pretrained(place.path(f"saves/{name}_merged")).float().eval()
    ids = torch.tensor([rows[0]["input_ids"]])
    with torch.no_grad():
        untouched = base(ids).logits.clone()
        adapted = PeftModel.from_pretrained(base, place.path(f"saves/{name}")).eval()(ids).logits
        after = merged(ids).logits
    assert float((adapted - untouched).abs().max()) > 0.1, "the adapter must say something"
    record("sft", f"logits of the merged model, {name}", "peft, adapter beside the base",
           float((after - adapted).abs().max()), 1e-4)  # fmt: skip


def test_the_export_renders_the_chat_that_was_trained(place: Workspace, train: Any, command: Any, rows: Rows):
    folder = place.path("saves/lora_merged")
    if not folder.exists():
        assert train(place, "saves/lora", **LEARNED).code == 0
        words = "export --model_name_or_path saves/lora --export_dir saves/lora_merged"
        assert command(place, *words.split()).code == 0
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    row = json.loads(place.path("data/tiny_sft.json").read_text())[0]
    talk = [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]
    assert tokenizer.apply_chat_template(talk, return_dict=False) == rows[0]["input_ids"]


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.02), (4, 0.1)])
def test_learning_on_a_rounded_base_is_close_to_learning_on_the_whole(
    place: Workspace, train: Any, look: Any, record: Any, bits: int, tolerance: float
):
    values = {**LEARNED, "max_steps": 20, "logging_steps": 1, "train_sampling_strategy": "sequential"}
    folder = place.path("saves/on_whole")
    if not folder.exists():
        assert train(place, "saves/on_whole", **values).code == 0
    done = train(place, f"saves/on_{bits}", quantization_bit=bits, **values)
    assert done.code == 0, done.err
    whole, rounded = losses(look(folder)), losses(look(place.path(f"saves/on_{bits}")))
    assert whole[-1] < whole[0] - 0.3, "both must have learned something"
    worst = max(abs(one - other) / one for one, other in zip(whole, rounded, strict=True))
    what = f"loss of each of 20 steps, QLoRA in {bits} bits (relative)"
    record("sft", what, "LoRA on the base in float32, the same rows", worst, tolerance)
