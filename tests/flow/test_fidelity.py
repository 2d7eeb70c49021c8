"""The numbers of a run are those of a plain loop over the same rows, written here anew."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from studio.workspace import Workspace

Rows = list[dict[str, Any]]
PLAIN = {"finetuning_type": "full", "logging_steps": 1, "save_strategy": "no", "optim": "adamw_torch",
         "train_sampling_strategy": "sequential"}  # fmt: skip


@pytest.fixture(scope="module")
def rows(place: Workspace, command: Any) -> Rows:
    """The rows of tiny_sft in order: ids and mask, as preview tells them."""
    words = ["data", "preview", "tiny_sft", "--model_name_or_path", "models/tiny-chat", "--count", "100", "--json"]
    done = command(place, *words)
    assert done.code == 0, done.err
    return [each for row in json.loads(done.out)["rows"] for each in row["renderings"]]


def loss_of(model: Any, rows: Rows, smoothing: float = 0.0) -> torch.Tensor:
    """Mean loss of all targets of some rows, each in a forward pass of its own."""
    sums, count = [], 0
    for row in rows:
        ids, mask = torch.tensor([row["input_ids"]]), torch.tensor(row["loss_mask"][1:])
        logits = model(input_ids=ids).logits[0, :-1][mask]
        sums.append(cross_entropy(logits, ids[0, 1:][mask], reduction="sum", label_smoothing=smoothing))
        count += int(mask.sum())
    return torch.stack(sums).sum() / count


def batches(rows: Rows, size: int, steps: int) -> Iterator[Rows]:
    """Rows in their order, over and over."""
    starts = list(range(0, len(rows), size))
    for step in range(steps):
        start = starts[step % len(starts)]
        yield rows[start : start + size]


def learn(model: Any, rows: Rows, *, size: int, steps: int, rate: float, smoothing: float = 0.0) -> list[float]:
    """AdamW, a linearly falling rate, gradients of length one at most; the loss of each step."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses = []
    for step, batch in enumerate(batches(rows, size, steps)):
        optimizer.param_groups[0]["lr"] = rate * (steps - step) / steps
        loss = loss_of(model, batch, smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def fresh(place: Workspace, name: str = "models/tiny-chat") -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(place.path(name)).train()


def close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float) -> None:
    assert left.keys() == right.keys()
    for name, weight in left.items():
        assert float((weight - right[name]).abs().max()) <= tolerance, name


def test_full_training_follows_a_plain_loop(place: Workspace, train: Any, look: Any, rows: Rows):
    done = train(place, "saves/full", max_steps=14, **PLAIN)
    assert done.code == 0, done.err
    model = fresh(place)
    expected = learn(model, rows, size=4, steps=14, rate=1e-3)
    run = look(place.path("saves/full"))
    assert [loss for _, loss in run.curve] == pytest.approx(expected, abs=1e-5)
    state = dict(model.state_dict())
    state.pop("lm_head.weight")
    close(load_file(run.folder / "model.safetensors"), state, 1e-5)


def test_lora_training_follows_a_plain_loop(place: Workspace, train: Any, look: Any, rows: Rows):
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(1)
    settings = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(fresh(place), settings)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    model.save_pretrained(place.path("saves/adapter"))
    values = {**PLAIN, "finetuning_type": "lora", "adapter_name_or_path": "saves/adapter"}
    done = train(place, "saves/lora", learning_rate=1e-2, max_steps=8, **values)
    assert done.code == 0, done.err
    expected = learn(model.train(), rows, size=4, steps=8, rate=1e-2)
    run = look(place.path("saves/lora"))
    assert [loss for _, loss in run.curve] == pytest.approx(expected, abs=1e-5)


def test_label_smoothing_is_that_of_torch(place: Workspace, train: Any, look: Any, rows: Rows):
    done = train(place, "saves/smooth", max_steps=4, label_smoothing_factor=0.2, **PLAIN)
    assert done.code == 0, done.err
    expected = learn(fresh(place), rows, size=4, steps=4, rate=1e-3, smoothing=0.2)
    assert [loss for _, loss in look(place.path("saves/smooth")).curve] == pytest.approx(expected, abs=1e-5)


def test_four_rows_at_once_learn_what_four_one_by_one_do(place: Workspace, train: Any, look: Any):
    at_once = train(place, "saves/at_once", **{**PLAIN, "max_steps": 12})
    one_by_one = train(
        place, "saves/one_by_one", per_device_train_batch_size=1, gradient_accumulation_steps=4,
        **{**PLAIN, "max_steps": 12},
    )  # fmt: skip
    assert (at_once.code, one_by_one.code) == (0, 0), one_by_one.err
    left, right = look(place.path("saves/at_once")), look(place.path("saves/one_by_one"))
    assert [loss for _, loss in left.curve] == pytest.approx([loss for _, loss in right.curve], abs=1e-5)
    norms = [[point["grad_norm"] for point in run.points] for run in (left, right)]
    assert norms[0] == pytest.approx(norms[1], abs=1e-5)
    close(load_file(left.folder / "model.safetensors"), load_file(right.folder / "model.safetensors"), 1e-5)


def test_packed_rows_give_the_loss_and_the_gradients_of_unpacked_ones(
    place: Workspace, train: Any, look: Any, rows: Rows
):
    # One step of plain descent over all rows: the weights move by the gradient itself.
    values = {**PLAIN, "optim": "sgd", "max_steps": 1, "learning_rate": 1, "max_grad_norm": 0, "cutoff_len": 256}
    values.pop("train_sampling_strategy")
    assert train(place, "saves/unpacked", per_device_train_batch_size=40, **values).code == 0
    done = train(place, "saves/packed", per_device_train_batch_size=40, packing="True", **values)
    assert done.code == 0, done.err
    unpacked, packed = look(place.path("saves/unpacked")), look(place.path("saves/packed"))
    first = packed.json("first_batch.json")["rows"]
    assert len(first) == 40
    assert [row["input_ids"] for row in first] != [row["input_ids"] for row in rows], "packs mix the rows"
    expected = loss_of(fresh(place), rows).item()
    assert packed.curve[0][1] == pytest.approx(unpacked.curve[0][1], abs=1e-5) == pytest.approx(expected, abs=1e-5)
    assert packed.points[0]["grad_norm"] == pytest.approx(unpacked.points[0]["grad_norm"], abs=1e-5)
    close(load_file(packed.folder / "model.safetensors"), load_file(unpacked.folder / "model.safetensors"), 1e-5)


# -- attention


def qwen2(**more: Any) -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE, **more))


def llama(**more: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, **more))


def mistral(**more: Any) -> Any:
    return transformers.MistralForCausalLM(transformers.MistralConfig(**SHAPE, sliding_window=5, **more))


def gpt2(**more: Any) -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64, **more)
    )


def bloom(**more: Any) -> Any:
    return transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4, **more)
    )


SHAPE = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.4,
}  # fmt: skip


def documents(*sizes: int) -> list[list[int]]:
    random = torch.Generator().manual_seed(3)
    return [torch.randint(0, 97, (size,), generator=random).tolist() for size in sizes]


@pytest.mark.parametrize("asked", ["auto", "disabled"])
@pytest.mark.parametrize("make", [qwen2, llama, mistral, gpt2])
def test_documents_in_one_row_give_what_each_gives_alone(make: Callable[..., Any], asked: str):
    from studio.loop.attention import choose_attention, lengths
    from studio.loop.batch import flat_batch

    torch.manual_seed(0)
    model = make().eval()
    model.config.use_cache = False
    parts = documents(17, 1, 9, 30)
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([part])).logits for part in parts], dim=1)
        name, _ = choose_attention(model, asked)
        assert name != "padded"
        batch = flat_batch(parts, [[True] * len(part) for part in parts])
        batch.pop("labels")
        together = model(**batch, **lengths(batch), use_cache=False).logits
    assert float((together - alone).abs().max()) <= 1e-5 * max(float(alone.abs().max()), 1.0)


def test_a_model_that_cannot_keep_documents_apart_gets_padded_rows_with_the_same_loss(
    place: Workspace, train: Any, look: Any, rows: Rows
):
    torch.manual_seed(0)
    size = json.loads(place.path("models/tiny-chat/config.json").read_text())["vocab_size"]
    model = transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=4)
    )
    folder = place.path("models/bloom")
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((place.path("models/tiny-chat") / name).read_bytes())
    values = {**PLAIN, "model_name_or_path": "models/bloom", "max_steps": 5, "val_size": 0}
    done = train(place, "saves/bloom", **values)
    assert done.code == 0, done.err
    assert "attention: padded" in done.err
    expected = learn(model.train(), rows, size=4, steps=5, rate=1e-3)
    assert [loss for _, loss in look(place.path("saves/bloom")).curve] == pytest.approx(expected, abs=1e-5)
    values.pop("train_sampling_strategy")
    done = train(place, "saves/bloom_packed", packing="True", **values)
    assert done.code == 10 and "--packing True" in done.err


def test_noise_is_uniform_and_shrinks_with_the_length_of_its_own_document():
    from studio.loop.causal import _add_noise

    model = qwen2().train()
    sizes = torch.tensor([400, 25])
    trainer = SimpleNamespace(model=model, document_lengths=sizes.repeat_interleave(sizes))
    embed = model.get_input_embeddings()
    ids = torch.zeros((1, 425), dtype=torch.long)
    still = embed(ids).detach()
    _add_noise(trainer, 5.0)  # type: ignore[arg-type]
    noise = (embed(ids) - still)[0].detach()
    for part, size in ((noise[:400], 400), (noise[400:], 25)):
        bound = 5.0 / math.sqrt(size * 32)
        assert float(part.abs().max()) <= bound * (1 + 1e-4)
        assert float(part.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert torch.equal(embed.eval()(ids), still)


# -- the way out


def test_merged_weights_answer_as_the_adapter_does(place: Workspace, train: Any, command: Any, rows: Rows):
    from peft import PeftModel

    done = train(place, "saves/to_merge", learning_rate=2e-2, lora_rank=8)
    assert done.code == 0, done.err
    words = (
        "export --model_name_or_path models/tiny-chat --adapter_name_or_path saves/to_merge --export_dir saves/merged"
    )
    done = command(place, *words.split())
    assert done.code == 0, done.err
    base = fresh(place).eval()
    merged = transformers.AutoModelForCausalLM.from_pretrained(place.path("saves/merged")).float().eval()
    ids = torch.tensor([rows[0]["input_ids"]])
    with torch.no_grad():
        untouched = base(ids).logits.clone()
        adapted = PeftModel.from_pretrained(base, place.path("saves/to_merge")).eval()(ids).logits
        after = merged(ids).logits
    assert float((adapted - untouched).abs().max()) > 0.1, "the adapter must say something"
    assert float((after - adapted).abs().max()) <= 1e-4


def test_the_export_renders_the_chat_that_was_trained(place: Workspace, rows: Rows):
    tokenizer = transformers.AutoTokenizer.from_pretrained(place.path("saves/merged"))
    row = json.loads(place.path("data/tiny_sft.json").read_text())[0]
    talk = [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]
    assert tokenizer.apply_chat_template(talk, return_dict=False) == rows[0]["input_ids"]
