"""A tokenizer opened without transformers gives the ids that transformers gives, or says so."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studio.errors import ModelError
from studio.model.tokenizer import check_against_transformers, open_tokenizer

TEXTS = ["The code of tokyo is 12  34.", "东京的秘密代码 😀\n\n  x", "<|im_start|>user\nhi<|im_end|>\n"]


@pytest.fixture
def folder(tiny_chat_model: Path, tmp_path: Path) -> Path:
    """A copy of the small files of the chat model, to be changed."""
    copy = tmp_path / "model"
    shutil.copytree(tiny_chat_model, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    return copy


def change(path: Path, **values: Any) -> None:
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = {key: value for key, value in {**known, **values}.items() if value is not ...}
    path.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")


def test_special_tokens_template_and_stop_ids_are_read(folder: Path, tmp_path: Path) -> None:
    change(folder / "generation_config.json", eos_token_id=[2, 5])
    change(folder / "tokenizer_config.json", image_token="<img>", eos_token={"content": "<|im_end|>"})
    light = open_tokenizer(folder, tmp_path / "cache")
    assert (light.eos_token, light.bos_token, light.pad_token) == ("<|im_end|>", "", "<|endoftext|>")
    assert light.special["image_token"] == "<img>"
    assert light.fast.id_to_token(light.eos_id) == "<|im_end|>"
    assert light.fast.id_to_token(light.pad_id) == "<|endoftext|>"
    assert light.stop_ids == (light.eos_id, 2, 5)
    assert "<|im_start|>" in light.chat_template
    assert light.size == light.fast.token_to_id("<img>") + 1
    assert light.files == folder
    assert light.name == "model"


def test_padding_falls_to_the_end_token(folder: Path, tmp_path: Path) -> None:
    change(folder / "tokenizer_config.json", pad_token=None)
    light = open_tokenizer(folder, tmp_path / "cache")
    assert light.pad_token == ""
    assert light.pad_id == light.eos_id


def test_truncation_and_padding_inside_the_file_are_off(folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    inside = Tokenizer.from_file(str(folder / "tokenizer.json"))
    inside.enable_truncation(4)
    inside.enable_padding(length=64)
    inside.save(str(folder / "tokenizer.json"))
    ids = open_tokenizer(folder, tmp_path / "cache").fast.encode("The code of tokyo is long.").ids
    assert 4 < len(ids) < 64


def test_a_template_file_comes_before_the_one_in_the_config(folder: Path, tmp_path: Path) -> None:
    change(folder / "tokenizer_config.json", chat_template="inside")
    assert open_tokenizer(folder, tmp_path).chat_template.startswith("{% for")
    (folder / "chat_template.jinja").unlink()
    assert open_tokenizer(folder, tmp_path).chat_template == "inside"


def test_several_templates_are_known_by_name(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    listed = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
    change(folder / "tokenizer_config.json", chat_template=listed)
    light = open_tokenizer(folder, tmp_path)
    assert (light.chat_template, light.other_templates) == ("d", ("rag",))


def test_special_tokens_of_the_older_file_count(folder: Path, tmp_path: Path) -> None:
    change(folder / "tokenizer_config.json", eos_token=...)
    change(folder / "special_tokens_map.json", eos_token={"content": "<|endoftext|>", "lstrip": False})
    assert open_tokenizer(folder, tmp_path).eos_token == "<|endoftext|>"


def test_a_missing_end_token_is_refused(folder: Path, tmp_path: Path) -> None:
    change(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match=r"must name its end token.*has no eos_token. Add it there"):
        open_tokenizer(folder, tmp_path)


def test_a_folder_without_a_tokenizer_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has none of tokenizer\.json, tokenizer\.model"):
        open_tokenizer(tmp_path, tmp_path / "cache")
    with pytest.raises(ModelError, match="must lie in a folder"):
        open_tokenizer(tmp_path / "gone", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("tokenizer_config.json", '{\n "eos_token": }', "must be JSON; line 2, column 15"),
        ("tokenizer_config.json", "[]", "must hold a JSON object; it holds a list"),
        ("tokenizer.json", '{"version": "1.0"}', "must be a tokenizer that tokenizers can read"),
        ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid", "git-LFS pointer.*git lfs pull"),
    ],
)
def test_a_broken_file_is_named(name: str, text: str, why: str, folder: Path, tmp_path: Path) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=why):
        open_tokenizer(folder, tmp_path)


def test_the_ids_are_those_of_transformers(folder: Path, tmp_path: Path) -> None:
    light = open_tokenizer(folder, tmp_path)
    check_against_transformers(light, TEXTS)
    check_against_transformers(light, TEXTS, documents=True)


def test_a_text_longer_than_the_model_takes_is_compared_without_a_warning(
    tiny_tokenizer_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    light = open_tokenizer(tiny_tokenizer_folder, tmp_path)
    check_against_transformers(light, ["bread " * 5000])
    assert "longer than" not in capfd.readouterr().err


def test_tokens_that_only_the_config_names_are_added_as_transformers_does(folder: Path, tmp_path: Path) -> None:
    inside = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    listed = {str(token.pop("id")): token for token in inside["added_tokens"]}
    size = open_tokenizer(folder, tmp_path).size
    listed[str(size)] = {**next(iter(listed.values())), "content": "<mask>", "lstrip": True}
    change(folder / "tokenizer_config.json", added_tokens_decoder=listed, extra_special_tokens=["<one>"])
    light = open_tokenizer(folder, tmp_path)
    assert light.fast.token_to_id("<mask>") == size
    assert light.fast.token_to_id("<one>") == size + 1
    check_against_transformers(light, ["a <mask> b<one>c"])


def test_files_that_disagree_on_an_id_are_refused(folder: Path, tmp_path: Path) -> None:
    change(folder / "tokenizer_config.json", added_tokens_decoder={"7": {"content": "<mask>", "special": True}})
    with pytest.raises(ModelError, match="'<mask>' is 7 by the small files and"):
        open_tokenizer(folder, tmp_path)


def test_rules_that_transformers_changes_are_refused(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    path = folder / "tokenizer.json"
    inside = json.loads(path.read_text(encoding="utf-8"))
    inside["normalizer"] = {"type": "Lowercase"}
    path.write_text(json.dumps(inside), encoding="utf-8")
    texts = ["tokyo", "in TOKYO", "PARIS"]
    with pytest.raises(ModelError, match=r"text 2 \('in TOKYO'\) differs at token 2"):
        check_against_transformers(open_tokenizer(folder, tmp_path), texts)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    check_against_transformers(open_tokenizer(folder, tmp_path), texts)


def test_a_tokenizer_without_tokenizer_json_is_converted_once(folder: Path, tmp_path: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    merges = [" ".join(pair) for pair in model["merges"]]
    vocabulary = open_tokenizer(folder, tmp_path).fast.get_vocab(with_added_tokens=True)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges), encoding="utf-8")
    cache = tmp_path / "cache"
    first = open_tokenizer(folder, cache)
    assert first.files.is_relative_to(cache)
    assert first.chat_template.startswith("{% for")
    assert first.name == "model"
    check_against_transformers(first, TEXTS)
    stamp = (first.files / "tokenizer.json").stat().st_mtime_ns
    again = open_tokenizer(folder, cache)
    assert (again.files / "tokenizer.json").stat().st_mtime_ns == stamp
    assert again.fingerprint == first.fingerprint
    assert [path.name for path in (cache / "tokenizers").iterdir()] == [first.files.name]


def test_a_sentencepiece_model_is_converted(tmp_path: Path) -> None:
    import sentencepiece

    folder = tmp_path / "llama"
    folder.mkdir()
    lines = [f"The code of city {n} is {n * 7}." for n in range(300)] + ["东京的秘密代码是什么？"] * 5
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    change(folder / "tokenizer_config.json", **settings)
    light = open_tokenizer(folder, tmp_path / "cache")
    assert (light.eos_token, light.eos_id) == ("</s>", 2)
    check_against_transformers(light, TEXTS)
    check_against_transformers(light, TEXTS, documents=True)


def test_opening_loads_no_heavy_package(tiny_chat_model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "import studio.data.render\n"
        "from studio.model.templates import choose_template\n"
        "from studio.model.tokenizer import open_tokenizer\n"
        "from studio.workspace import Workspace\n"
        "light = open_tokenizer(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "choose_template('', light, Workspace(Path(sys.argv[2])))\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(tiny_chat_model), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
