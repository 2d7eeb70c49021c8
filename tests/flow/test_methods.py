"""Ways in which weights learn: each goes on after a kill with the same bytes, and loads and merges elsewhere."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from studio.workspace import Workspace

KILL = int(signal.SIGKILL)
RUN: dict[str, Any] = {"max_steps": 4, "save_steps": 2, "logging_steps": 1, "lora_rank": 4, "learning_rate": "5e-3"}
WAYS: dict[str, dict[str, Any]] = {
    "pissa": {"pissa_init": "True", "pissa_iter": 4, "use_rslora": "True", "lora_dropout": 0.1},
    "dora": {"use_dora": "True"},
    "rslora": {"use_rslora": "True", "exclude_modules": "down_proj"},
    "loraplus": {"loraplus_lr_ratio": 8, "optim": "paged_adamw_8bit"},
    "bias": {"lora_bias": "True", "lora_target": "q_proj,k_proj,v_proj"},
    "embeddings": {"additional_target": "embed_tokens", "lora_target": "q_proj,up_proj"},
    "pissa whole": {"pissa_init": "True", "pissa_iter": -1, "val_size": 5, "load_best_model_at_end": "True",
                    "eval_strategy": "steps", "eval_steps": 2},
}  # fmt: skip
QUICK = ("pissa", "bias")
ALL_WAYS = [way if way in QUICK else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
IDS = [[1, 5, 9, 33, 2, 60, 7]]


@pytest.fixture(scope="module")
def trained(place: Workspace, train: Any, look: Any) -> Any:
    """The unbroken run of a way, once."""
    done: dict[str, Any] = {}

    def run(way: str) -> Any:
        if way not in done:
            ended = train(place, f"saves/{way.replace(' ', '_')}", **{**RUN, **WAYS[way]})
            assert ended.code == 0, ended.err
            done[way] = look(place.path(f"saves/{way.replace(' ', '_')}"))
        return done[way]

    return run


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(torch.tensor(IDS)).logits


def opened(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float32")


def with_adapter(base: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(base, folder)


@pytest.mark.parametrize("way", ALL_WAYS)
def test_it_learns_and_its_adapter_says_merged_what_it_says_on_the_untouched_base(
    place: Workspace, command: Any, trained: Any, way: str
):
    run = trained(way)
    losses = [loss for _, loss in run.curve]
    assert losses[-1] < losses[0]
    merged = f"models/merged_{run.folder.name}"
    done = command(place, "export", f"--model_name_or_path=saves/{run.folder.name}", f"--export_dir={merged}")
    assert done.code == 0, done.err
    base = place.path("models/tiny-chat")
    plain, beside = logits(opened(base)), logits(with_adapter(opened(base), run.folder))
    assert (beside - plain).abs().max() > 1e-3
    assert (beside - logits(opened(place.path(merged)))).abs().max() < 2e-5


@pytest.mark.parametrize("way", ALL_WAYS)
def test_killed_in_a_step_it_goes_on_and_ends_with_the_same_bytes(
    place: Workspace, train: Any, look: Any, trained: Any, way: str
):
    whole, folder = trained(way), f"saves/killed_{way.replace(' ', '_')}"
    assert train(place, folder, at=("backward", 3, KILL), **{**RUN, **WAYS[way]}).code == -KILL
    done = train(place, folder, **{**RUN, **WAYS[way]})
    assert done.code == 0, done.err
    assert "going on from checkpoint-2" in done.err
    look(place.path(folder)).must_end_as(whole)


def test_every_checkpoint_of_pissa_is_a_plain_adapter(place: Workspace, trained: Any):
    for name in trained("pissa").checkpoints:
        folder = trained("pissa").folder / name
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["r"], config["init_lora_weights"], config["use_rslora"]) == (8, True, False)
        base = opened(place.path("models/tiny-chat"))
        assert (logits(base) - logits(with_adapter(base, folder))).abs().max() > 1e-4


# -- adapters on adapters


def test_a_new_adapter_lies_on_all_that_were_merged_and_is_found_with_them(
    place: Workspace, command: Any, train: Any, trained: Any
):
    trained("bias"), trained("pissa")
    names = "saves/bias,saves/pissa"
    done = train(place, "saves/on_top", **RUN, adapter_name_or_path=names, create_new_adapter="True", pissa_init="True")
    assert done.code == 0, done.err
    done = command(place, "export", "--model_name_or_path=saves/on_top", "--export_dir=models/on_top")
    assert done.code == 0, done.err
    base = opened(place.path("models/tiny-chat"))
    for name in ("bias", "pissa"):
        base = with_adapter(base, place.path(f"saves/{name}")).merge_and_unload()
    under = logits(base)
    beside = logits(with_adapter(base, place.path("saves/on_top")))
    assert (beside - under).abs().max() > 1e-3
    assert (beside - logits(opened(place.path("models/on_top")))).abs().max() < 2e-5
    assert json.loads((place.path("saves/on_top") / "run.json").read_text())["parents"] == [
        "models/tiny-chat", "saves/bias", "saves/pissa"
    ]  # fmt: skip


def test_what_an_adapter_that_goes_on_cannot_become_is_told(place: Workspace, train: Any, trained: Any):
    trained("bias")
    done = train(
        place, "saves/goes_on", "--plan", adapter_name_or_path="saves/bias", lora_rank=16, lora_target="q_proj"
    )
    assert done.code == 10
    assert "--lora_rank 16: the adapter that goes on learning has 4." in done.err
    assert "--lora_target q_proj: the adapter that goes on learning has k_proj,q_proj,v_proj." in done.err
    done = train(place, "saves/goes_on", "--plan", adapter_name_or_path="saves/bias", lora_rank=4, lora_bias="True")
    assert done.code == 0, done.err


# -- longer positions


@pytest.fixture(scope="module")
def short(place: Workspace) -> Path:
    """A model whose positions are too few for the rows."""
    folder = place.path("models/short")
    shutil.copytree(place.path("models/tiny-chat"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 32}))
    return folder


def test_rows_that_are_too_long_are_told_with_the_remedy(place: Workspace, train: Any, short: Path):
    done = train(place, "saves/too_long", "--plan", model_name_or_path="models/short", packing="True", cutoff_len=96)
    assert done.code == 10
    assert "positions for 32. Lower it to 32, or stretch the model's with --rope_scaling yarn." in done.err


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("yarn", "lora"),
        pytest.param("linear", "full", marks=pytest.mark.slow),
        pytest.param("dynamic", "lora", marks=pytest.mark.slow),
        pytest.param("llama3", "lora", marks=pytest.mark.slow),
    ],
)
def test_longer_positions_go_with_what_was_trained(
    place: Workspace, command: Any, train: Any, short: Path, kind: str, method: str
):
    folder, long = f"saves/long_{kind}", {"model_name_or_path": "models/short", "cutoff_len": 96, "rope_scaling": kind}
    done = train(place, folder, **{**RUN, **long, "finetuning_type": method, "lora_rank": 8})
    assert done.code == 0, done.err
    assert f"rope_scaling: {kind} by 3, from 32 to 96 positions" in done.err
    words = ["chat", f"--model_name_or_path={folder}", "--prompt", "hello " * 8, "--max_new_tokens=3"]
    done = command(place, *words)
    assert done.code == 0, done.err
    done = command(place, "export", f"--model_name_or_path={folder}", f"--export_dir=models/long_{kind}")
    assert done.code == 0, done.err
    merged = opened(place.path(f"models/long_{kind}"))
    assert merged.config.rope_parameters["rope_type"] == kind
    assert merged.config.rope_parameters["factor"] == 3
    assert merged.config.max_position_embeddings == (32 if kind == "dynamic" else 96)
    if method == "lora":
        from transformers import AutoModelForCausalLM

        changes = json.loads((place.path(folder) / "checkpoint-2" / "base_changes.json").read_text())
        base = AutoModelForCausalLM.from_pretrained(short, **changes)
        assert (logits(with_adapter(base, place.path(folder))) - logits(merged)).abs().max() < 2e-5


def test_an_adapter_of_longer_positions_goes_on_and_under_others_with_them(place: Workspace, train: Any, short: Path):
    long = {"model_name_or_path": "models/short", "cutoff_len": 96, "rope_scaling": "yarn"}
    assert train(place, "saves/long_first", **{**RUN, **long, "max_steps": 1}).code == 0
    done = train(
        place, "saves/long_next", **{**RUN, **long, "max_steps": 1, "adapter_name_or_path": "saves/long_first"}
    )
    assert done.code == 0, done.err
    assert "rope_scaling: positions are stretched to 96 by yarn already" in done.err
    kept = [place.path(f"saves/long_{name}/base_changes.json").read_bytes() for name in ("first", "next")]
    assert kept[0] == kept[1]


# -- a larger vocabulary


@pytest.fixture(scope="module")
def larger(place: Workspace) -> Path:
    """The tokenizer with forty tokens more than the model has embeddings for."""
    from tokenizers import AddedToken, Tokenizer

    folder = place.path("models/larger")
    folder.mkdir()
    for path in place.path("models/tiny-chat").glob("*token*"):
        shutil.copy(path, folder)
    shutil.copy(place.path("models/tiny-chat/chat_template.jinja"), folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(f"<|new{number}|>", normalized=False) for number in range(40)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_tokenizer_that_is_too_large_is_told_with_the_cure(place: Workspace, train: Any, larger: Path):
    done = train(place, "saves/too_large", "--plan", tokenizer_name_or_path="models/larger")
    assert done.code != 0
    assert "or train with --resize_vocab True, which adds the missing embeddings" in done.err


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("lora", {}),
        pytest.param("full", {}, marks=pytest.mark.slow),
        pytest.param("freeze", {"freeze_trainable_layers": 1}, marks=pytest.mark.slow),
    ],
)
def test_new_tokens_get_embeddings_that_learn_and_are_kept(
    place: Workspace, command: Any, train: Any, look: Any, larger: Path, method: str, more: Any
):
    folder = f"saves/grown_{method}"
    values = {
        **RUN,
        **more,
        "finetuning_type": method,
        "tokenizer_name_or_path": "models/larger",
        "resize_vocab": "True",
    }
    values = values | ({"lora_rank": 8} if method != "lora" else {})
    done = train(place, folder, **values)
    assert done.code == 0, done.err
    assert "embeddings instead of" in done.err
    killed = f"saves/grown_killed_{method}"
    assert train(place, killed, at=("backward", 3, KILL), **values).code == -KILL
    assert train(place, killed, **values).code == 0
    look(place.path(killed)).must_end_as(look(place.path(folder)))
    done = command(place, "chat", f"--model_name_or_path={folder}", "--prompt", "<|new3|> hello", "--max_new_tokens=3")
    assert done.code == 0, done.err
    done = command(place, "export", f"--model_name_or_path={folder}", f"--export_dir=models/grown_{method}")
    assert done.code == 0, done.err
    merged = opened(place.path(f"models/grown_{method}"))
    rows = merged.config.vocab_size
    assert rows % 64 == 0 and merged.get_input_embeddings().weight.shape[0] == rows
    assert merged.lm_head.weight is merged.get_input_embeddings().weight
    from transformers import AutoTokenizer

    assert len(AutoTokenizer.from_pretrained(place.path(f"models/grown_{method}"))) <= rows
    if method == "lora":
        base = opened(place.path("models/tiny-chat"))
        base.resize_token_embeddings(rows)
        assert (logits(with_adapter(base, place.path(folder))) - logits(merged)).abs().max() < 2e-5


# -- what is refused


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"optim": "galore_adamw", "finetuning_type": "full"}, "needs the modules it works on"),
        ({"optim": "galore_adamw", "finetuning_type": "full", "optim_target_modules": "all-linear"},
         "pip install galore-torch"),
        ({"use_liger_kernel": "True"}, "--use_liger_kernel True: its kernels are made for a GPU"),
        ({"flash_attn": "fa2"}, "--flash_attn fa2: its kernels are made for a GPU"),
        ({"lora_bias": "True"}, "down_proj, gate_proj, o_proj, up_proj have none. Write --lora_target k_proj,q_proj,v"),
        ({"trainable_token_indices": "new"}, "tiny-chat has no vocabulary.json that names new tokens"),
        ({"trainable_token_indices": "0-99999"}, "0-99999: every id must have an embedding; this model has"),
        ({"pissa_init": "True", "quantization_bit": 4}, "--quantization_bit 4 holds them rounded"),
        ({"resize_vocab": "True", "quantization_bit": 8}, "the embeddings of a base in 8 bits cannot grow"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_the_start(place: Workspace, train: Any, values: Any, told: str):
    done = train(place, "saves/refused", "--plan", **values)
    assert done.code == 10 and told in done.err, done.err
