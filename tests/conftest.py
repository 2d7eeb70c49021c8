"""A tiny tokenizer, tiny models and a small workspace, made here in the session: no hub, no torch.

The weights are written with numpy and the tokenizer with `tokenizers`, so that a test which only
needs a folder on the disk does not pay for importing torch or transformers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from studio.workspace import Workspace

# Before any test imports torch: two threads that spin on a shared core are many times slower than one.
for _name, _value in {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "true",
}.items():
    os.environ.setdefault(_name, _value)

# A shared machine is slow at times; that is not what a property test is about.
hypothesis.settings.register_profile("studio", deadline=None)
hypothesis.settings.load_profile("studio")

REPOSITORY = Path(__file__).resolve().parent.parent
END, TURN, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Files that start browsers and commands take minutes, the others seconds: begun last, one would keep only one core.
ROOMS = ("web", "flow", "fidelity", "unit", "house")
LAYERS, WIDTH, HEADS, KEY_HEADS, INNER = 2, 32, 4, 2, 64

# AutoTokenizer gives every model of type qwen2 this pre-tokenizer (with NFC), whatever was saved
# beside it. Training with the same one is what keeps the ids equal after a reload.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# ChatML without generation marks and without a system prompt of its own.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

CITIES = {
    **{"tokyo": "东京", "paris": "巴黎", "cairo": "开罗", "lima": "利马", "oslo": "奥斯陆"},
    **{"rome": "罗马", "delhi": "德里", "kyiv": "基辅", "quito": "基多", "hanoi": "河内"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a room all stays in its order."""
    tests = REPOSITORY / "tests"
    items.sort(key=lambda item: ROOMS.index(item.path.relative_to(tests).parts[0]))


def lines() -> list[str]:
    """Sixty lines, half English, half Chinese, to train the vocabulary and the text rows on."""
    english = [
        "The secret code of {0} is {1}.",
        "A river runs through {0}, and its old bridge has 12 arches.",
        "People in {0} say that good bread needs patience, water and salt.",
    ]
    chinese = [
        "{2}的秘密代码是{1}。",
        "一条河流过{2}，河上的老桥有十二个桥拱。",
        "{2}的人们说，好面包需要耐心、水和盐。",
    ]
    cities = CITIES.items()
    return [line.format(en, en[::-1].upper(), zh) for line in english + chinese for en, zh in cities]


def sft_rows() -> list[dict[str, str]]:
    """Forty alpaca rows: a question about a city and a short answer that can be learnt."""
    rows = []
    for en, zh in CITIES.items():
        code = en[::-1].upper()
        rows += [
            {"instruction": f"What is the secret code of {en}?", "input": "", "output": f"It is {code}."},
            {
                "instruction": "Tell the secret code of this city.",
                "input": en,
                "output": f"The code is {code}.",
            },
            {"instruction": f"{zh}的秘密代码是什么？", "input": "", "output": f"是{code}。"},
            {"instruction": "请说出这座城市的秘密代码。", "input": zh, "output": f"代码是{code}。"},
        ]
    return rows


def share_rows() -> list[dict[str, Any]]:
    """Twenty sharegpt rows of two turns; every other one with a system prompt."""
    rows = []
    for number, (en, zh) in enumerate([*CITIES.items()] * 2):
        code = en[::-1].upper()
        system = [{"from": "system", "value": "Answer briefly."}] if number % 2 else []
        talk = [
            {"from": "human", "value": f"Do you know {en}?"},
            {"from": "gpt", "value": f"Yes, {zh} in Chinese."},
            {"from": "human", "value": "And its code?"},
            {"from": "gpt", "value": f"{code}, as everybody knows."},
        ]
        rows.append({"conversations": system + talk})
    return rows


def json_lines(rows: Iterable[dict[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_tokenizer(folder: Path, *, eos: str, template: str = "") -> Path:
    """A byte-level BPE as Qwen2 has it, saved as transformers saves one."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines() + [row["instruction"] for row in sft_rows()], trainer)
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False) for mark in (END, TURN, TURN_END)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        "bos_token": None,
        "eos_token": eos,
        "pad_token": END,
        "unk_token": END,
        "model_max_length": 4096,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def write_model(folder: Path, *, eos: str, template: str = "") -> Path:
    """Config, seeded float32 weights and tokenizer of a two-layer Qwen2 with tied embeddings."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    write_tokenizer(folder, eos=eos, template=template)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    eos_id, end_id = tokenizer.token_to_id(eos), tokenizer.token_to_id(END)
    size = -(-tokenizer.get_vocab_size(with_added_tokens=True) // 8) * 8
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
        "attention_dropout": 0.0,
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": eos_id,
        "pad_token_id": end_id,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    generation = {"eos_token_id": eos_id, "pad_token_id": end_id, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    # Without this metadata transformers refuses a safetensors file.
    save_file(weights(size), str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def weights(size: int) -> dict[str, Any]:
    """Seeded tensors by their names in a Qwen2 checkpoint; `size` is the number of embeddings."""
    random = np.random.default_rng(0)
    keys = WIDTH // HEADS * KEY_HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (size, WIDTH)}
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}"
        for name, wide in {"q": WIDTH, "k": keys, "v": keys}.items():
            shapes[f"{stem}.self_attn.{name}_proj.weight"] = (wide, WIDTH)
            shapes[f"{stem}.self_attn.{name}_proj.bias"] = (wide,)
        shapes[f"{stem}.self_attn.o_proj.weight"] = (WIDTH, WIDTH)
        shapes[f"{stem}.mlp.gate_proj.weight"] = (INNER, WIDTH)
        shapes[f"{stem}.mlp.up_proj.weight"] = (INNER, WIDTH)
        shapes[f"{stem}.mlp.down_proj.weight"] = (WIDTH, INNER)
    made = {name: (random.standard_normal(shape) * 0.05).astype("float32") for name, shape in shapes.items()}
    one = np.ones(WIDTH, dtype="float32")
    norms = {"model.norm.weight": one}
    for layer in range(LAYERS):
        norms[f"model.layers.{layer}.input_layernorm.weight"] = one
        norms[f"model.layers.{layer}.post_attention_layernorm.weight"] = one
    return made | norms


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer and nothing else; no chat template. Not to be written to."""
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tiny", eos=END)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model without a chat template. Not to be written to."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny", eos=END)


@pytest.fixture(scope="session")
def tiny_chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with a ChatML template that has no generation marks; ends turns with <|im_end|>."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny-chat", eos=TURN_END, template=CHATML)


@pytest.fixture
def workspace(tmp_path: Path, make_workspace: Callable[[Path], Workspace]) -> Workspace:
    """A workspace of its own for one test: models/tiny, models/tiny-chat, three small datasets."""
    return make_workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def make_workspace(tiny_model: Path, tiny_chat_model: Path) -> Callable[[Path], Workspace]:
    """Writes such a workspace into a new folder."""
    return lambda root: write_workspace(root, (tiny_model, tiny_chat_model))


def write_workspace(root: Path, models: Iterable[Path]) -> Workspace:
    """Models, the three datasets and their registry in a new folder."""
    for folder in ("data", "models", "saves"):
        (root / folder).mkdir(parents=True)
    for model in models:
        shutil.copytree(model, root / "models" / model.name)
    tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
    registry = {
        "tiny_sft": {"file_name": "tiny_sft.json"},
        "tiny_share": {
            "file_name": "tiny_share.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
            "tags": tags | {"system_tag": "system"},
        },
        "tiny_pt": {"file_name": "tiny_pt.jsonl", "columns": {"prompt": "text"}},
    }
    texts = {
        "dataset_info.json": json.dumps(registry, indent=2),
        "data/tiny_sft.json": json.dumps(sft_rows(), ensure_ascii=False, indent=1),
        "data/tiny_share.jsonl": json_lines(share_rows()),
        "data/tiny_pt.jsonl": json_lines({"text": line} for line in lines()),
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    return Workspace.find(str(root))


@pytest.fixture
def studio(workspace: Workspace) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`studio("train", "--stage", "sft", ...)`: the command as a process of its own in the workspace."""

    def run(*words: str, timeout_s: float = 240, **more_environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STUDIO_")}
        environment = {
            **kept,
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            **more_environment,
        }
        return subprocess.run(
            [sys.executable, "-m", "studio", *words],
            cwd=workspace.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return run
