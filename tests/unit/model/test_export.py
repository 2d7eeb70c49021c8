import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoHaConfig, PeftModel, PromptTuningConfig
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from studio.errors import ModelError, StudioError
from studio.model.weights import tensors
from tests.unit.model.tiny import IDS_BT, adapter, exported, gpt2, logits, qwen

KINDS: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": ["q_proj", "o_proj", "down_proj"]},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True, "target_modules": ["q_proj", "gate_proj"]},
    "patterns": {
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {"layers.0.self_attn.v_proj": 2},
        "alpha_pattern": {"q_proj": 3},
    },
    "lora bias": {"lora_bias": True},
    "trained biases": {"bias": "all"},
    "trained norm": {"modules_to_save": ["norm"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "dora on the embedding": {"target_modules": ["embed_tokens"], "use_dora": True},
    "embedding kept tied": {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    "output": {"target_modules": ["lm_head"]},
    "output trained whole": {"modules_to_save": ["lm_head"]},
    "input trained whole": {"modules_to_save": ["embed_tokens"]},
    "both trained whole": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "some tokens": {"trainable_token_indices": [3, 9]},
    "some tokens of both ends": {"trainable_token_indices": {"embed_tokens": [3, 9], "lm_head": [3, 9]}},
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    warnings.simplefilter("ignore")


def check(base: Path, trained: Path, target: Path) -> None:
    exported(base, [trained], target)
    assert (logits(target) - logits(base, trained)).abs().max() < 1e-4
    assert (logits(target) - logits(base)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_merged_model_says_what_its_adapter_says(kind: str, tied: bool, tmp_path: Path) -> None:
    if kind == "embedding kept tied" and not tied:
        pytest.skip("asks for what is not there")
    base = qwen(tmp_path / "base", tied=tied)
    check(base, adapter(base, tmp_path / "adapter", **KINDS[kind]), tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["c_attn", "c_proj"]},
        {"target_modules": ["c_attn", "c_fc"], "use_dora": True},
        {"target_modules": ["c_attn", "wte"]},
        {"target_modules": ["c_attn", "lm_head"]},
    ],
    ids=["lora", "dora", "embedding", "output"],
)
def test_weights_that_lie_the_other_way_round_are_merged_so(settings: dict[str, Any], tmp_path: Path) -> None:
    base = gpt2(tmp_path / "base")
    check(base, adapter(base, tmp_path / "adapter", **settings), tmp_path / "out")


def test_a_base_without_the_models_prefix_is_understood(tmp_path: Path) -> None:
    base = gpt2(tmp_path / "base")
    trained = adapter(base, tmp_path / "adapter", target_modules=["c_attn"])
    file = base / "model.safetensors"
    short = {name.removeprefix("transformer."): tensor for name, tensor in load_file(file).items()}
    save_file(short, file, metadata={"format": "pt"})
    check(base, trained, tmp_path / "out")


def test_the_output_stays_shared_where_the_adapter_keeps_it_shared(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    trained = adapter(base, tmp_path / "adapter", modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    check(base, trained, tmp_path / "out")
    assert "lm_head.weight" not in tensors(tmp_path / "out")


def test_an_adapter_on_one_end_of_a_tied_model_parts_them_and_says_so(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    trained = adapter(base, tmp_path / "adapter", target_modules=["lm_head"])
    report = exported(base, [trained], tmp_path / "out")
    assert "were one in the base" in report.notes[0]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    assert "lm_head.weight" in tensors(tmp_path / "out")


def test_several_adapters_are_merged_one_on_the_other(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    first = adapter(base, tmp_path / "first", use_dora=True)
    exported(base, [first], tmp_path / "middle")
    second = adapter(tmp_path / "middle", tmp_path / "second", use_dora=True)
    exported(base, [first, second], tmp_path / "out")
    assert (logits(tmp_path / "out") - logits(tmp_path / "middle", second)).abs().max() < 1e-4


@pytest.mark.parametrize(
    "config",
    [
        IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        LoHaConfig(r=4, target_modules=["q_proj"]),
    ],
    ids=["ia3", "loha"],
)
def test_other_kinds_go_through_peft_and_it_is_said(config: Any, tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    trained = adapter(base, tmp_path / "adapter", config)
    check(base, trained, tmp_path / "out")
    assert not (tmp_path / "out" / "merged").exists()


def test_virtual_tokens_cannot_be_merged(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    trained = adapter(base, tmp_path / "adapter", config)
    with pytest.raises(ModelError, match="virtual tokens"):
        exported(base, [trained], tmp_path / "out")


def test_an_adapter_of_another_model_is_refused_by_the_name_of_its_tensor(tmp_path: Path) -> None:
    other = gpt2(tmp_path / "other")
    trained = adapter(other, tmp_path / "adapter", target_modules=["c_attn"])
    with pytest.raises(ModelError, match=r"4 of 4 .*c_attn\.lora_A.*Name the base"):
        exported(qwen(tmp_path / "base"), [trained], tmp_path / "out")


def test_the_merge_is_done_in_float32_and_cast_once(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base", dtype=torch.bfloat16)
    trained = adapter(base, tmp_path / "adapter")
    report = exported(base, [trained], tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, trained).merge_and_unload().state_dict()
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(tensor, merged[name].bfloat16()) for name, tensor in written.items())
    assert report.dtype == "bfloat16"
    assert 0 < report.changed < report.moved == 2 * 32 * 32
    assert f"{report.lost_share:.1%} of the moved are lost" in report.sentence


def test_a_full_run_is_cast_as_asked_and_written_in_shards(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    report = exported(base, [], tmp_path / "out", infer_dtype="bfloat16", export_size=1e-5)
    files = {tensor.file.name for tensor in tensors(tmp_path / "out").values()}
    assert len(files) > 2
    assert all(path.stat().st_size < 14_000 for path in (tmp_path / "out").glob("*.safetensors"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert model.dtype == torch.bfloat16
    with torch.no_grad():
        assert (model.float()(IDS_BT).logits - logits(base)).abs().max() < 0.2
    assert report.touched == ()


def test_numbers_too_large_for_float16_are_refused_with_the_way_out(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    file = base / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][3] = 1e6
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.norm\.weight reaches 1e\+06.*bfloat16"):
        exported(base, [], tmp_path / "out", infer_dtype="float16")
    assert not (tmp_path / "out").exists()


def test_an_adapter_with_nan_leaves_no_target_and_no_leftovers(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    trained = adapter(base, tmp_path / "adapter")
    file = trained / "adapter_model.safetensors"
    weights = load_file(file)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"the adapter makes .*q_proj\.weight infinite or not a number"):
        exported(base, [trained], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base"]


def test_an_existing_target_is_refused_or_moved_aside(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    exported(base, [], tmp_path / "out")
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(StudioError, match="exists already") as refusal:
        exported(base, [], tmp_path / "out")
    assert refusal.value.exit_code == 10
    exported(base, [], tmp_path / "out", overwrite_export_dir=True)
    (old,) = tmp_path.glob("out.old-*")
    assert (old / "mine.txt").read_text() == "kept"
    assert not (tmp_path / "out" / "mine.txt").exists()


@pytest.mark.parametrize("inner", ["base", "base/out", "."])
def test_a_target_within_its_sources_or_around_them_is_refused(inner: str, tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    with pytest.raises(StudioError, match="must lie apart"):
        exported(base, [], tmp_path / inner, overwrite_export_dir=True)


def test_a_quantized_base_is_refused(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))
    with pytest.raises(ModelError, match="is quantized"):
        exported(base, [], tmp_path / "out")


def test_a_shard_of_the_base_that_is_cut_short_is_named(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors .*cut short: 100 bytes are missing"):
        exported(base, [], tmp_path / "out")
