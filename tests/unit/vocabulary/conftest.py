"""Chinese text, and small models of the three kinds whose vocabularies grow."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace

ROWS = Path(__file__).parents[3] / "data" / "medical_zh_demo.jsonl"


class Quiet:
    """An ear that keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.told: list[tuple[float, float, str]] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def tell(self, done: float, total: float, text: str) -> None:
        self.told.append((done, total, text))


@pytest.fixture
def ear() -> Quiet:
    return Quiet()


@pytest.fixture(scope="session")
def chinese() -> list[str]:
    """Answers of two hundred rows."""
    with ROWS.open(encoding="utf-8") as file:
        return [json.loads(line)["output"] for _, line in zip(range(200), file, strict=False)]


@pytest.fixture
def place(workspace: Workspace, chinese: list[str]) -> Workspace:
    """The workspace with the Chinese texts as the dataset `zh`."""
    registry = json.loads(workspace.dataset_info.read_text(encoding="utf-8"))
    registry["zh"] = {"file_name": "zh.jsonl", "columns": {"prompt": "text"}}
    workspace.dataset_info.write_text(json.dumps(registry), encoding="utf-8")
    lines = (json.dumps({"text": text}, ensure_ascii=False) for text in chinese)
    (workspace.data / "zh.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return workspace


@pytest.fixture(scope="session")
def light(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LightTokenizer:
    """The tiny byte-level tokenizer, whose special tokens lie behind its vocabulary."""
    return open_tokenizer(tiny_model, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def sentencepiece_model(chinese: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unigram model of 300 pieces, as chinese_sp.model is one of 20,000."""
    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(chinese), model_writer=made, vocab_size=1400, model_type="unigram", minloglevel=2
    )
    path = tmp_path_factory.mktemp("sp") / "small.model"
    path.write_bytes(made.getvalue())
    return path


@pytest.fixture(scope="session")
def characters_folder(chinese: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of Llama 2's kind that knows English letters and writes the rest as bytes."""
    import sentencepiece
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("llama2")
    english = ["the river runs through the old town and people bake bread there", "salt, water and patience."] * 20
    with (folder / "tokenizer.model").open("wb") as made:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(english), model_writer=made, vocab_size=330, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False, minloglevel=2,
        )  # fmt: skip
    settings = {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    AutoTokenizer.from_pretrained(str(folder)).save_pretrained(str(folder))
    return folder


@pytest.fixture
def untied(place: Workspace) -> Path:
    """The tiny model with a head of its own, 40 free rows, and two shards in bfloat16."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = place.models / "untied"
    shutil.copytree(place.models / "tiny", folder)
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(folder / "model.safetensors").items()}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    table = weights["model.embed_tokens.weight"]
    torch.manual_seed(0)
    weights["model.embed_tokens.weight"] = torch.cat([table, torch.zeros(40, table.shape[1], dtype=table.dtype)])
    weights["lm_head.weight"] = torch.randn_like(weights["model.embed_tokens.weight"]) * 0.05
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, several in parts.items():
        save_file({name: weights[name] for name in several}, str(folder / file), metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, several in parts.items() for name in several}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    config |= {"tie_word_embeddings": False, "vocab_size": len(table) + 40, "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def do(place: Workspace, ear: Quiet) -> Callable[..., dict[str, Any]]:
    """`do("tokenizer-extend", num_new_tokens=50, …)`: a work, done here."""
    from studio.recipe import make_set
    from studio.works.base import WORKS

    def run(name: str, **values: Any) -> dict[str, Any]:
        asked, _ = make_set(WORKS[name].asked, values)
        assert not asked.complaints(), asked.complaints()
        return WORKS[name].doer().run(asked, place, ear)

    return run
