"""Pickled weights become safetensors in a process of its own, and no code in them is run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from studio.arguments.export import ExportArguments
from studio.errors import ModelError, StudioError
from studio.model.conversion import run
from studio.model.pickled import convert, open_pickle, refuse_needless
from studio.model.weights import INDEX, tensors
from tests.unit.model.tiny import IDS_BT, adapter, logits, qwen

SHARD = 10**9


class Bomb:
    """Opened as a pickle, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def pickle_of(model: Path, folder: Path, *, shards: int = 1, **how: Any) -> Path:
    """The same model with its weights as torch pickles them."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    state = AutoModelForCausalLM.from_pretrained(model).state_dict()
    names = list(state)
    if shards == 1:
        torch.save(state, folder / "pytorch_model.bin", **how)
        return folder
    weight_map = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05}-of-{shards:05}.bin"
        part = {name: state[name] for name in names[number::shards]}
        torch.save(part, folder / file, **how)
        weight_map |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def converted(source: Path, target: Path, **asked: Any) -> Path:
    run(source, target, **{"shard_bytes": SHARD, "dtype": "auto", "replace": False, **asked})
    return target


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_converted_model_says_the_same(tmp_path: Path, tied: bool, shards: int) -> None:
    base = qwen(tmp_path / "base", tied=tied)
    new = converted(pickle_of(base, tmp_path / "old", shards=shards), tmp_path / "new")
    assert torch.equal(logits(new), logits(base))
    assert json.loads((new / "config.json").read_text()) == json.loads((base / "config.json").read_text())
    assert (new / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()


def test_of_tied_weights_one_is_written_as_transformers_does(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base", tied=True)
    new = converted(pickle_of(base, tmp_path / "old"), tmp_path / "new")
    assert set(tensors(new)) == set(tensors(base))
    assert json.loads((new / "conversion.json").read_text())["left_out"] == ["lm_head.weight"]
    untied = qwen(tmp_path / "apart", tied=False)
    assert "lm_head.weight" in tensors(converted(pickle_of(untied, tmp_path / "old2"), tmp_path / "new2"))


def test_weights_that_share_their_memory_without_being_tied_are_all_written(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base", tied=False)
    old = pickle_of(base, tmp_path / "old")
    state = torch.load(old / "pytorch_model.bin", weights_only=True)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    torch.save(state, old / "pytorch_model.bin")
    found = load_file(converted(old, tmp_path / "new") / "model.safetensors")
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"])


def test_the_result_is_cut_into_files_and_cast_as_asked(tmp_path: Path) -> None:
    old = pickle_of(qwen(tmp_path / "base"), tmp_path / "old")
    new = converted(old, tmp_path / "new", shard_bytes=20_000, dtype="bfloat16")
    assert (new / INDEX).is_file()
    assert {tensor.dtype for tensor in tensors(new).values()} == {"BF16"}
    assert json.loads((new / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(new)(IDS_BT).logits.dtype == torch.bfloat16


def test_the_older_form_of_torch_files_is_read_too(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    old = pickle_of(base, tmp_path / "old", _use_new_zipfile_serialization=False)
    assert torch.equal(logits(converted(old, tmp_path / "new")), logits(base))


def test_a_pickled_adapter_becomes_one_of_safetensors(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    whole = adapter(base, tmp_path / "whole")
    old = Path(shutil.copytree(whole, tmp_path / "old"))
    torch.save(load_file(old / "adapter_model.safetensors"), old / "adapter_model.bin")
    (old / "adapter_model.safetensors").unlink()
    new = converted(old, tmp_path / "new")
    assert torch.equal(logits(base, new), logits(base, whole))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, legacy: bool) -> None:
    old = pickle_of(qwen(tmp_path / "base"), tmp_path / "old")
    state = {"a": torch.ones(2), "b": Bomb(tmp_path / "PWNED")}
    torch.save(state, old / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match=r"it asks for (posix|os)\.system when it is opened"):
        converted(old, tmp_path / "new")
    assert not (tmp_path / "PWNED").exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(b"PK\x03\x04 cut short"), "cannot be opened"),
        (lambda path: path.write_bytes(b""), "cannot be opened"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda path: torch.save({"state_dict": {"a": torch.ones(1)}}, path), "'state_dict' is none"),
        (lambda path: torch.save([torch.ones(1)], path), "must hold tensors by name"),
        (lambda path: torch.save({"a": torch.ones(2).to_sparse()}, path), "'a' is none"),
        (lambda path: None, "is not there"),
    ],
)
def test_what_is_no_file_of_weights_is_told(tmp_path: Path, write: Callable[[Path], Any], said: str) -> None:
    write(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=said):
        open_pickle(tmp_path / "pytorch_model.bin")


def test_an_index_may_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "../x.bin"}}')
    with pytest.raises(ModelError, match="files of its own folder"):
        refuse_needless(tmp_path)


def test_a_folder_with_safetensors_needs_no_conversion(tmp_path: Path) -> None:
    qwen(tmp_path / "base")
    with pytest.raises(ModelError, match="has safetensors already"):
        refuse_needless(tmp_path / "base")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="must hold pytorch_model"):
        refuse_needless(tmp_path / "empty")


def test_a_target_that_stands_is_left_alone(tmp_path: Path) -> None:
    old = pickle_of(qwen(tmp_path / "base"), tmp_path / "old")
    (tmp_path / "new").mkdir()
    with pytest.raises(StudioError, match="exists already"):
        converted(old, tmp_path / "new")


def test_pickles_beside_safetensors_are_not_read(tmp_path: Path) -> None:
    base = qwen(tmp_path / "base")
    torch.save({"b": Bomb(tmp_path / "PWNED")}, base / "pytorch_model.bin")
    assert "model.embed_tokens.weight" in tensors(base)
    logits(base)
    assert not (tmp_path / "PWNED").exists()


def test_the_child_is_given_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = pickle_of(qwen(tmp_path / "base"), tmp_path / "old")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    assert convert(old, tmp_path / "new", ExportArguments()) == 0
    assert (tmp_path / "new" / "model.safetensors").is_file()


def test_an_index_that_names_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ModelError, match="it names none"):
        refuse_needless(tmp_path)


def meta_folder(model: Any, folder: Path, files: int, *, embedding_dim: int = 1) -> Path:
    """A Llama in Meta's form, in as many files as it was trained on devices."""
    config = model.config
    heads, key_heads, width = config.num_attention_heads, config.num_key_value_heads, config.hidden_size

    def neighbours(weight: torch.Tensor, count: int) -> torch.Tensor:
        return weight.view(count, 2, -1, width).transpose(1, 2).reshape(weight.shape)

    state = model.state_dict()
    old = {
        "tok_embeddings.weight": (state["model.embed_tokens.weight"], embedding_dim),
        "norm.weight": (state["model.norm.weight"], None),
        "output.weight": (state["lm_head.weight"], 0),
        "rope.freqs": (torch.ones(4), None),
    }
    for number in range(config.num_hidden_layers):
        new, stem = f"model.layers.{number}", f"layers.{number}"
        old |= {
            f"{stem}.attention.wq.weight": (neighbours(state[f"{new}.self_attn.q_proj.weight"], heads), 0),
            f"{stem}.attention.wk.weight": (neighbours(state[f"{new}.self_attn.k_proj.weight"], key_heads), 0),
            f"{stem}.attention.wv.weight": (state[f"{new}.self_attn.v_proj.weight"], 0),
            f"{stem}.attention.wo.weight": (state[f"{new}.self_attn.o_proj.weight"], 1),
            f"{stem}.feed_forward.w1.weight": (state[f"{new}.mlp.gate_proj.weight"], 0),
            f"{stem}.feed_forward.w2.weight": (state[f"{new}.mlp.down_proj.weight"], 1),
            f"{stem}.feed_forward.w3.weight": (state[f"{new}.mlp.up_proj.weight"], 0),
            f"{stem}.attention_norm.weight": (state[f"{new}.input_layernorm.weight"], None),
            f"{stem}.attention.inner_attention.rope.freqs": (torch.ones(4), None),
            f"{stem}.ffn_norm.weight": (state[f"{new}.post_attention_layernorm.weight"], None),
        }
    folder.mkdir()
    for number in range(files):
        part = {
            name: values.clone() if dim is None else values.chunk(files, dim)[number].clone()
            for name, (values, dim) in old.items()
        }
        torch.save(part, folder / f"consolidated.{number:02}.pth")
    params = {"dim": width, "n_layers": config.num_hidden_layers, "n_heads": heads, "n_kv_heads": key_heads}
    params |= {"norm_eps": config.rms_norm_eps, "rope_theta": 500000.0, "vocab_size": -1, "multiple_of": 16}
    (folder / "params.json").write_text(json.dumps(params))
    return folder


def llama() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rope_theta=500000.0, initializer_range=0.1,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@pytest.mark.parametrize(("files", "embedding_dim"), [(1, 1), (2, 1), (2, 0)])
def test_a_llama_in_metas_form_says_the_same_when_converted(tmp_path: Path, files: int, embedding_dim: int) -> None:
    model = llama()
    old = meta_folder(model, tmp_path / "old", files, embedding_dim=embedding_dim)
    refuse_needless(old)
    new = converted(old, tmp_path / "new")
    with torch.no_grad():
        assert torch.equal(logits(new), model.eval()(IDS_BT).logits)


def test_a_llama_without_its_second_file_is_told(tmp_path: Path) -> None:
    old = meta_folder(llama(), tmp_path / "old", 2)
    (old / "consolidated.01.pth").unlink()
    with pytest.raises(ModelError, match="A file is missing"):
        converted(old, tmp_path / "new")


def test_a_llama_without_one_of_its_layers_is_told(tmp_path: Path) -> None:
    old = meta_folder(llama(), tmp_path / "old", 1)
    state = torch.load(old / "consolidated.00.pth", weights_only=True)
    torch.save({name: value for name, value in state.items() if "layers.0." not in name}, old / "consolidated.00.pth")
    with pytest.raises(ModelError, match=r"all 2 layers; model\.layers\.0\."):
        converted(old, tmp_path / "new")


def test_another_model_in_that_form_is_told(tmp_path: Path) -> None:
    old = meta_folder(llama(), tmp_path / "old", 1)
    torch.save({"layers.0.feed_forward.experts.w1": torch.ones(1)}, old / "consolidated.00.pth")
    with pytest.raises(ModelError, match="only Llama 1 to 3 are known"):
        converted(old, tmp_path / "new")
    (old / "params.json").write_text("{}")
    with pytest.raises(ModelError, match=r"params\.json must be JSON with dim"):
        converted(old, tmp_path / "new")


def test_the_tokenizer_of_a_llama_goes_along(tmp_path: Path) -> None:
    old = meta_folder(llama(), tmp_path / "old", 1)
    (old / "tokenizer.model").write_bytes(b"\n\x0b\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    new = converted(old, tmp_path / "new")
    assert json.loads((new / "tokenizer_config.json").read_text())["eos_token"] == "</s>"
    (old / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    assert not (converted(old, tmp_path / "newer") / "tokenizer_config.json").exists()


def test_nothing_of_this_module_is_heavy() -> None:
    code = "import sys, studio.model.pickled; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_file_whose_tensors_overlap_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4), "b": torch.ones(4)}, tmp_path / "model.safetensors")
    data = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["b"]["data_offsets"] = header["a"]["data_offsets"]
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length : -16])
    with pytest.raises(ModelError, match="one after the other"):
        tensors(tmp_path)
