"""A vocabulary from nothing, a model around it, and a look at both."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.errors import ArgumentError, ModelError, StoppedError
from studio.model.tokenizer import open_tokenizer
from studio.recipe import make_set
from studio.verbs.working import run_work
from studio.vocabulary import compare, inspect, merging
from studio.vocabulary.inspect import coloured
from studio.works.base import WORKS
from studio.workspace import Workspace

Do = Callable[..., dict[str, Any]]
TRAIN = {"dataset": "zh,tiny_pt", "vocab_size": 700, "output_dir": "models/tok"}


@pytest.mark.parametrize("cut", ["qwen2", "llama3", "gpt2"])
def test_bytes_are_joined_and_transformers_reads_the_same_ids(
    cut: str, do: Do, place: Workspace, chinese: list[str]
) -> None:
    from transformers import AutoTokenizer

    found = do("tokenizer-train", pre_tokenizer=cut, **TRAIN)
    light = open_tokenizer(place.models / "tok", place.cache)
    assert (found["tokens"]["all"], light.size, light.eos_token) == (700, 700, "<|im_end|>")
    assert [light.fast.token_to_id(token) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")] == [0, 1, 2]
    theirs = AutoTokenizer.from_pretrained(place.models / "tok")
    for text in (*chinese[:5], "In 2024 it's 3.14!\n\n  x = 1\t😀"):
        ids = light.fast.encode(text).ids
        assert theirs(text)["input_ids"] == ids
        assert light.fast.decode(ids) == text
    assert found["round_trip"]["lost"] == 0
    digits = {"qwen2": 4, "llama3": 2, "gpt2": 1}[cut]
    assert len(light.fast.pre_tokenizer.pre_tokenize_str("2024")) == digits


def test_the_merges_are_those_of_the_texts(do: Do, place: Workspace) -> None:
    """As `tokenizers` trains them on the same texts, which is what the ecosystem has."""
    (place.data / "ab.jsonl").write_text("\n".join(f'{{"text": "{w}"}}' for w in ("abab cab", "abc", "cabc", "zz abx")))
    do("tokenizer-train", train_file="data/ab.jsonl", vocab_size=300, special_tokens="<e>", output_dir="models/tok")
    raw = json.loads((place.models / "tok" / "tokenizer.json").read_text(encoding="utf-8"))
    assert raw["model"]["merges"][0] == ["a", "b"]
    assert raw["model"]["vocab"]["<e>"] == 0


def test_sentencepiece_gives_the_ids_of_its_own_library(do: Do, place: Workspace, chinese: list[str]) -> None:
    import sentencepiece
    from transformers import AutoTokenizer

    found = do("tokenizer-train", tokenizer_kind="sentencepiece", **{**TRAIN, "vocab_size": 2000})
    light = open_tokenizer(place.models / "tok", place.cache)
    own = sentencepiece.SentencePieceProcessor(model_file=str(place.models / "tok" / "tokenizer.model"))
    theirs = AutoTokenizer.from_pretrained(place.models / "tok")
    assert found["tokens"]["all"] == light.size == len(own) <= 2000
    for text in (*chinese[:5], "People in oslo bake bread 2024.", "ᚠ is a rune"):
        ids = light.fast.encode(text, add_special_tokens=False).ids
        assert own.encode(text) == theirs(text, add_special_tokens=False)["input_ids"] == ids
        assert light.fast.decode(ids) == text
    assert (light.bos_token, light.eos_token) == ("<s>", "</s>")
    assert light.fast.encode("hi").ids[0] == light.fast.token_to_id("<s>")


@pytest.mark.parametrize("shape", ["llama", "qwen2", "qwen3"])
def test_a_new_model_has_what_was_told_and_loads(shape: str, do: Do, place: Workspace) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    do("tokenizer-train", chat_template="chatml", **TRAIN)
    values = {"tokenizer_name_or_path": "models/tok", "model_shape": shape, "hidden_size": 32, "num_hidden_layers": 2,
              "num_attention_heads": 4, "num_key_value_heads": 2, "output_dir": "models/new"}  # fmt: skip
    work = WORKS["tokenizer-new-model"]
    facts = work.facts(make_set(work.asked, values)[0], place)
    found = do("tokenizer-new-model", **values)
    model = AutoModelForCausalLM.from_pretrained(place.models / "new")
    assert facts["parameters"] == found["parameters"]
    assert found["parameters"]["all"] == sum(weight.numel() for weight in model.parameters())
    assert (model.config.model_type, model.config.vocab_size, found["rows"]) == (shape, 704, 704)
    assert model.generation_config.eos_token_id == open_tokenizer(place.models / "new", place.cache).eos_id
    assert found["chat_template"]
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7]])).logits
    # A model that knows nothing holds every token for about as likely.
    assert float(torch.log_softmax(logits, -1).exp().max()) < 10 / 704


def test_the_seed_decides_the_weights(do: Do, place: Workspace) -> None:
    do("tokenizer-train", **TRAIN)
    tiny = {"tokenizer_name_or_path": "models/tok", "hidden_size": 16, "num_hidden_layers": 1}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        do("tokenizer-new-model", seed=seed, output_dir=f"models/{name}", **tiny)
    a, b, c = ((place.models / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_a_vocabulary_that_the_models_class_would_rebuild_is_refused(do: Do, place: Workspace) -> None:
    do("tokenizer-train", pre_tokenizer="gpt2", **TRAIN)
    with pytest.raises(ModelError, match="the tokenizer must fit --model_shape qwen2"):
        do("tokenizer-new-model", tokenizer_name_or_path="models/tok", model_shape="qwen2", hidden_size=32,
           output_dir="models/new")  # fmt: skip
    assert not (place.models / "new").exists()


def complaints(name: str, **values: Any) -> str:
    return "\n".join(make_set(WORKS[name].asked, values)[0].complaints())


def test_what_cannot_be_trained_is_told_first(do: Do, place: Workspace) -> None:
    assert "--dataset" in complaints("tokenizer-train", output_dir="x")
    assert "must be one of --special_tokens" in complaints(
        "tokenizer-train", dataset="a", output_dir="x", eos_token="<q>"
    )
    assert "named once" in complaints("tokenizer-train", dataset="a", output_dir="x", special_tokens="<a>,<a>")
    assert "--tokenizer_name_or_path" in complaints("tokenizer-new-model", output_dir="x")
    with pytest.raises(ArgumentError, match="sentencepiece must be able to train"):
        do("tokenizer-train", dataset="zh", tokenizer_kind="sentencepiece", vocab_size=300, output_dir="models/tok")
    with pytest.raises(ArgumentError, match="there is none at"):
        do("tokenizer-new-model", tokenizer_name_or_path="models/nowhere", output_dir="models/new")


def test_a_smaller_vocabulary_than_asked_is_told(do: Do, place: Workspace) -> None:
    found = do("tokenizer-train", dataset="tiny_pt", vocab_size=50_000, output_dir="models/tok")
    assert any("instead of 50,000" in note for note in found["notes"])


def test_a_look_at_an_extended_model_has_its_base_beside_it(do: Do, place: Workspace) -> None:
    do("tokenizer-extend", model_name_or_path="models/tiny", dataset="zh", num_new_tokens=400, output_dir="models/more")
    found = do("tokenizer-inspect", model_name_or_path="models/more", dataset="zh,tiny_pt")
    assert found["before_folder"] == "models/tiny"
    assert {row["name"] for row in found["measures"]["datasets"]} == {"zh", "tiny_pt"}
    scripts = {row["name"]: row for row in found["measures"]["scripts"]}
    assert scripts["latin"]["before"] == scripts["latin"]["after"]
    assert scripts["han"]["after"]["tokens"] < scripts["han"]["before"]["tokens"]
    assert (found["vocabulary"]["moved"], found["vocabulary"]["gone"], found["vocabulary"]["added"]) == (0, 0, 400)
    assert found["changed"]["changed"] == 0
    assert found["free"] == found["rows"] - found["tokens"]["after"] >= 0
    assert found["round_trip"]["lost"] == 0
    assert 0 < found["unused"]["count"] < found["unused"]["of"]
    for label in ("before", "after"):
        assert "".join(span["text"] for span in found["example"][label]) == found["example"]["text"]


@pytest.mark.parametrize("base", ["/etc", "someone/model", "../elsewhere", "a\0b"])
def test_a_base_that_is_only_named_is_neither_fetched_nor_in_the_way(
    base: str, do: Do, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_ROOTS", str(place.root))
    record = {"base": base, "scripts": 5}
    (place.models / "tiny" / "vocabulary.json").write_text(json.dumps(record))
    found = do("tokenizer-inspect", model_name_or_path="models/tiny", text="bread")
    assert found["before_folder"] == ""
    assert any(note.startswith("its base is not compared: ") for note in found["notes"])


def test_long_texts_are_counted_in_parts(do: Do, place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = do("tokenizer-inspect", model_name_or_path="models/tiny", dataset="zh,tiny_pt", compare_with="models/tiny")
    monkeypatch.setattr(merging, "BATCH", 500)
    parts = do("tokenizer-inspect", model_name_or_path="models/tiny", dataset="zh,tiny_pt", compare_with="models/tiny")
    assert parts | {"seconds": 0} == whole | {"seconds": 0}


def test_sentencepiece_leaves_no_long_line_out(do: Do, place: Workspace) -> None:
    line = "salt water patience bread " * 50_000
    rows = [json.dumps({"text": text}) for text in ("held out", line)]
    (place.data / "long.jsonl").write_text("\n".join(rows))
    found = do("tokenizer-train", tokenizer_kind="sentencepiece", train_file="data/long.jsonl", vocab_size=300,
               output_dir="models/tok")  # fmt: skip
    light = open_tokenizer(place.models / "tok", place.cache)
    assert len(light.fast.encode("patience", add_special_tokens=False).ids) < 4
    # Special tokens and bytes are not what was learned.
    assert found["new_tokens"]["first"][0]["id"] == 3 + 3 + 256


@pytest.mark.parametrize("kind", ["byte_bpe", "sentencepiece"])
def test_a_stop_while_texts_are_counted_is_a_stop(kind: str, do: Do, place: Workspace, ear: Any) -> None:
    def tell(done: float, total: float, text: str) -> None:
        if text in ("counting words", "reading for sentencepiece"):
            raise StoppedError("stopped on request")

    ear.tell = tell
    with pytest.raises(StoppedError):
        do("tokenizer-train", tokenizer_kind=kind, **TRAIN)
    assert not list(place.models.glob("*tok*"))


def test_a_stopped_work_says_that_it_begins_anew(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(inspect, "run", lambda *_: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5))
    try:
        with pytest.raises(StoppedError, match=r"nothing of it is kept\. The same command begins anew"):
            run_work(WORKS["tokenizer-inspect"], ["--model_name_or_path", "models/tiny"], str(place.root))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_fewer_characters_than_datasets_are_told(do: Do) -> None:
    with pytest.raises(ArgumentError, match="--max_chars 1: must be at least one for each of the 2 datasets"):
        do("tokenizer-inspect", model_name_or_path="models/tiny", dataset="zh,tiny_pt", max_chars=1)


def test_the_page_converts_no_old_tokenizer(place: Workspace, characters_folder: Path) -> None:
    folder = place.models / "old"
    shutil.copytree(characters_folder, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "config.json").write_text("{}")
    for name, values in {
        "tokenizer-new-model": {"tokenizer_name_or_path": "models/old", "output_dir": "models/x"},
        "tokenizer-extend": {"model_name_or_path": "models/old", "output_dir": "models/x", "add_tokens": "a"},
        "tokenizer-inspect": {"model_name_or_path": "models/old"},
    }.items():
        asked, _ = make_set(WORKS[name].asked, values)
        assert "tokens" not in WORKS[name].facts(asked, place)
    assert not (place.cache / "tokenizers").exists()


def test_ids_that_mean_something_else_are_told(do: Do, place: Workspace) -> None:
    do("tokenizer-train", **TRAIN)
    found = do("tokenizer-inspect", model_name_or_path="models/tok", compare_with="models/tiny", text="你好 oslo")
    assert found["vocabulary"]["moved"] > 100
    assert found["changed"]["changed"] == found["changed"]["texts"]
    assert (found["rows"], found["example"]["text"]) == (None, "你好 oslo")


def test_a_character_in_several_tokens_is_one_span_with_several_ids(do: Do, place: Workspace) -> None:
    light = open_tokenizer(place.models / "tiny", place.cache)
    spans = compare.spans("a😀b", light.fast)
    assert [span["text"] for span in spans] == ["a", "😀", "b"]
    assert [len(span["ids"]) for span in spans] == [1, 4, 1]
    assert [number for span in spans for number in span["ids"]] == light.fast.encode("a😀b").ids
    assert "\033[41m" in coloured(spans)


def test_texts_are_drawn_by_the_seed_and_bounded(do: Do, place: Workspace) -> None:
    from studio.vocabulary import texts

    def read(**more: Any) -> texts.Texts:
        values = {"dataset": ("zh",), "train_file": (), "dataset_dir": "data", "max_chars": 10**6, "sample_rows": None,
                  "seed": 1}  # fmt: skip
        return texts.read(texts.Asked(**(values | more)), place, type("Ear", (), {"tell": lambda *_: None})())

    whole = read()
    assert len(whole.learned["zh"]) + len(whole.held_out["zh"]) + whole.repeated == 200
    assert not set(whole.learned["zh"]) & set(whole.held_out["zh"])
    assert sum(map(len, whole.learned["zh"])) + sum(map(len, whole.held_out["zh"])) <= 10**6
    short = read(max_chars=500)
    assert sum(map(len, short.learned["zh"] + short.held_out["zh"])) == 500
    drawn = [read(sample_rows=20, seed=seed).all for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_tokenizer_files_without_a_model_are_found(tiny_tokenizer_folder: Path, do: Do) -> None:
    found = do("tokenizer-inspect", model_name_or_path=str(tiny_tokenizer_folder), text="hello")
    assert found["rows"] is None
    assert found["vocabulary"] is None
