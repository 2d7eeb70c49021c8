"""A model with more tokens: what is written is what both libraries read, and nothing old has moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from studio.errors import ArgumentError, ModelError, StoppedError, StudioError
from studio.model.tokenizer import open_tokenizer
from studio.recipe import make_set
from studio.vocabulary.scripts import ANY, AUTO, BLOCKS
from studio.works.base import WORKS
from studio.works.tokenizer_extend import SCRIPTS
from studio.workspace import Workspace

Do = Callable[..., dict[str, Any]]
ZH = {"dataset": "zh", "num_new_tokens": 400, "output_dir": "models/more"}


def weights(folder: Path) -> dict[str, Any]:
    from studio.model import shards
    from studio.model.weights import tensors

    return {name: shards.read(tensor) for name, tensor in tensors(folder).items()}


def test_a_tied_model_writes_chinese_in_fewer_than_half_the_tokens(do: Do, place: Workspace) -> None:
    found = do("tokenizer-extend", model_name_or_path="models/tiny", **ZH)
    han = next(row for row in found["measures"]["scripts"] if row["name"] == "han")
    assert han["after"]["tokens_per_character"] < 0.5 * han["before"]["tokens_per_character"]
    assert found["old_text"]["changed"] == 0
    assert found["old_text"]["texts"] > 5
    record = json.loads((place.models / "more" / "vocabulary.json").read_text(encoding="utf-8"))
    before, after = found["tokens"]["before"], found["tokens"]["after"]
    assert (record["base"], record["base_size"], record["size"]) == ("models/tiny", before, after)
    assert (record["added"], record["start"], after - before) == ([[before, after]], "subtokens", 400)


def test_transformers_loads_the_result_and_old_text_means_what_it_meant(
    do: Do, place: Workspace, chinese: list[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    do("tokenizer-extend", model_name_or_path="models/tiny-chat", **ZH)
    folder = place.models / "more"
    theirs, ours = AutoTokenizer.from_pretrained(folder), open_tokenizer(folder, place.cache)
    for text in [*chinese[:20], "The secret code of oslo is OLSO.", "<|im_start|>user\n你好<|im_end|>"]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.fast.encode(text).ids
        assert ours.fast.decode(ours.fast.encode(text).ids, skip_special_tokens=False) == text
    assert theirs.chat_template == ours.chat_template != ""
    old, new = (AutoModelForCausalLM.from_pretrained(place.models / name) for name in ("tiny-chat", "more"))
    size = open_tokenizer(place.models / "tiny-chat", place.cache).size
    assert new.get_output_embeddings().weight is new.get_input_embeddings().weight
    ids = torch.tensor([ours.fast.encode("People in oslo say that good bread needs patience.").ids])
    with torch.no_grad():
        torch.testing.assert_close(new(ids).logits[..., :size], old(ids).logits[..., :size])


def test_free_rows_of_an_untied_model_are_used_in_both_tables(do: Do, place: Workspace, untied: Path) -> None:
    found = do("tokenizer-extend", model_name_or_path="models/untied", dataset="zh", num_new_tokens=30,
               output_dir="models/more", export_size=0.00003)  # fmt: skip
    old, new = weights(untied), weights(place.models / "more")
    size = found["tokens"]["before"]
    assert found["rows"]["before"] == found["rows"]["after"]
    assert len(list((place.models / "more").glob("model-*.safetensors"))) > 2
    light, more = (open_tokenizer(folder, place.cache) for folder in (untied, place.models / "more"))
    for name, tensor in old.items():
        assert new[name].dtype == tensor.dtype
        if name not in ("model.embed_tokens.weight", "lm_head.weight"):
            assert new[name].equal(tensor)
            continue
        assert new[name][:size].equal(tensor[:size])
        for row in range(size, size + 30):
            text = more.fast.decode([row])
            if "\ufffd" in text:
                continue
            mean = tensor[light.fast.encode(text).ids].float().mean(0)
            np.testing.assert_allclose(new[name][row].float(), mean, atol=2e-3)


def test_pieces_of_a_sentencepiece_model_become_single_tokens(
    do: Do, place: Workspace, sentencepiece_model: Path
) -> None:
    import sentencepiece

    shutil.copyfile(sentencepiece_model, place.root / "zh.model")
    found = do("tokenizer-extend", model_name_or_path="models/tiny", sentencepiece_model="zh.model", dataset="zh",
               output_dir="models/more")  # fmt: skip
    light = open_tokenizer(place.models / "more", place.cache)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(sentencepiece_model))
    words = [pieces.id_to_piece(number) for number in range(3, len(pieces))]
    han = [word for word in words if all("\u4e00" <= character <= "\u9fff" for character in word)]
    whole = [word for word in han if len(light.fast.encode(word).ids) == 1]
    # Of overlapping pieces a merge may take one and leave the other in two.
    assert len(han) > 500
    assert len(whole) > 0.97 * len(han)
    assert found["how"] == "pieces"
    assert found["counts"]["made"] + found["counts"]["already"] > 0.9 * len(han)
    han_row = next(row for row in found["measures"]["scripts"] if row["name"] == "han")
    assert han_row["after"]["tokens_per_character"] < 0.5 * han_row["before"]["tokens_per_character"]


@pytest.mark.parametrize("source", ["texts", "pieces"])
def test_a_vocabulary_of_characters_gets_characters_and_words(
    source: str, do: Do, place: Workspace, characters_folder: Path, sentencepiece_model: Path, chinese: list[str]
) -> None:
    from sentencepiece import SentencePieceProcessor

    shutil.copytree(characters_folder, place.models / "letters")
    do("tokenizer-new-model", tokenizer_name_or_path="models/letters", hidden_size=32, num_hidden_layers=1,
       num_attention_heads=2, output_dir="models/llama2")  # fmt: skip
    more = (
        {"sentencepiece_model": str(sentencepiece_model), "dataset": "zh"} if source == "pieces" else {"dataset": "zh"}
    )
    values = {"num_new_tokens": 900, "output_dir": "models/more", **more}
    found = do("tokenizer-extend", model_name_or_path="models/llama2", **values)
    old, new = (open_tokenizer(place.models / name, place.cache) for name in ("llama2", "more"))
    for text in ("the river runs through the old town", "salt, water", "Жук ½"):
        assert new.fast.encode(text).ids == old.fast.encode(text).ids
    text = "患者需要注意休息，多喝水。"
    assert new.fast.decode(new.fast.encode(text).ids) == text
    assert len(new.fast.encode(text).ids) < len(text) + 3 < len(old.fast.encode(text).ids) / 2
    own = SentencePieceProcessor(model_file=str(place.models / "more" / "tokenizer.model"))
    assert len(own) == found["tokens"]["after"]
    for text in [*chinese, "the river runs through the old town", "salt, 京 water  \t 1½"]:
        assert own.encode(text) == new.fast.encode(text, add_special_tokens=False).ids
    if source == "texts":
        # A new character begins at the mean of the bytes that wrote it.
        word = next(c for c in "患者需要" if len(new.fast.model.tokenize(c)) == 1)
        number = new.fast.token_to_id(word)
        parts = [old.fast.token_to_id(f"<0x{byte:02X}>") for byte in word.encode()]
        table = weights(place.models / "llama2")["model.embed_tokens.weight"]
        grown = weights(place.models / "more")["model.embed_tokens.weight"]
        np.testing.assert_allclose(grown[number], table[parts].mean(0), atol=1e-6)


def test_a_sentencepiece_file_that_would_give_other_ids_is_left_out_and_told(
    do: Do, place: Workspace, characters_folder: Path
) -> None:
    shutil.copytree(characters_folder, place.models / "letters")
    do("tokenizer-new-model", tokenizer_name_or_path="models/letters", hidden_size=32, num_hidden_layers=1,
       num_attention_heads=2, output_dir="models/llama2")  # fmt: skip
    # SentencePiece puts a space in front of a whole token, tokenizers does not.
    found = do("tokenizer-extend", model_name_or_path="models/llama2", add_tokens="<drug>", output_dir="models/more")
    assert not (place.models / "more" / "tokenizer.model").exists()
    assert any("would write '<drug>' with other ids than tokenizer.json" in note for note in found["notes"])


def test_a_hand_written_map_gives_special_tokens_their_rows(do: Do, place: Workspace) -> None:
    from transformers import AutoTokenizer

    named = {"system_token": "<|system|>", "user_token": "<|user|>", "chat_end_token": "<|end|>",
             "eos_token": "<|end|>", "pad_token": {"content": "<|endoftext|>"},
             "additional_special_tokens": ["<|tool|>"]}  # fmt: skip
    (place.root / "special_tokens_map.json").write_text(json.dumps(named), encoding="utf-8")
    found = do("tokenizer-extend", model_name_or_path="models/tiny-chat", special_tokens_map="special_tokens_map.json",
               output_dir="models/more")  # fmt: skip
    folder = place.models / "more"
    light, size = open_tokenizer(folder, place.cache), found["tokens"]["before"]
    assert found["tokens"]["special"] == ["<|system|>", "<|user|>", "<|end|>", "<|tool|>"]
    assert [light.fast.token_to_id(text) for text in found["tokens"]["special"]] == list(range(size, size + 4))
    assert light.special["chat_end_token"] == light.eos_token == "<|end|>"
    assert light.fast.encode("<|user|>hi<|end|>").ids[-1] == light.eos_id == size + 2
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == size + 2
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    assert ends[0] == size + 2
    assert len(ends) == 2
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs.eos_token == theirs.chat_end_token == "<|end|>"
    assert theirs.decode(theirs("<|user|>hi<|tool|>")["input_ids"], skip_special_tokens=True) == "hi"


def test_whole_tokens_of_a_list_stand_for_their_text_everywhere(do: Do, place: Workspace) -> None:
    (place.root / "words.txt").write_text("阿司匹林\n布洛芬\n", encoding="utf-8")
    found = do("tokenizer-extend", model_name_or_path="models/tiny", add_tokens="<drug>", add_tokens_file="words.txt",
               output_dir="models/more")  # fmt: skip
    light = open_tokenizer(place.models / "more", place.cache)
    size = found["tokens"]["before"]
    assert (found["how"], found["tokens"]["whole"]) == ("lists", 3)
    assert {size + 1, size + 2} <= set(light.fast.encode("吃阿司匹林或布洛芬").ids)


def test_a_model_that_was_extended_can_be_extended_again(do: Do, place: Workspace) -> None:
    do("tokenizer-extend", model_name_or_path="models/tiny", **ZH)
    found = do("tokenizer-extend", model_name_or_path="models/more", dataset="zh", num_new_tokens=50,
               add_special_tokens="<|tool|>", output_dir="models/again")  # fmt: skip
    assert found["tokens"]["added"] == 51
    assert found["old_text"]["changed"] == 0


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a folder that exists": ({**ZH, "output_dir": "models/tiny"}, "must be a new folder; it exists already"),
    "no character of the script": ({**ZH, "dataset": "tiny_sft", "scripts": "thai"}, "must have characters of the new"),
    "nothing but Latin": ({**ZH, "dataset": "shake"}, "in a script other than Latin"),
    "no SentencePiece model": ({**ZH, "sentencepiece_model": "data/zh.jsonl"}, "must be a SentencePiece model"),
    "a model file that is not there": ({**ZH, "sentencepiece_model": "nowhere.model"}, "there is none at"),
    "empty and double lines": ({"add_tokens_file": "twice.txt"}, "line 2 is empty; line 3 repeats 'one' of line 1"),
    "a list that is none": ({"add_tokens_file": "list.json"}, "must be a JSON list of texts"),
    "a token that is there": ({"add_tokens": "The,neu"}, "every token must be new; 1 are in the vocabulary"),
    "a token named twice": ({"add_tokens": "neu,neu"}, "must be named once; 'neu'"),
    "a map without names": ({"special_tokens_map": "list.json"}, "special_tokens_map"),
    "a map with a wrong name": ({"special_tokens_map": "map.json"}, "user: 'x' is no name of a token"),
    "old text that would change": ({**ZH, "scripts": "any"}, "old text must keep its ids"),
    "no model": ({**ZH, "model_name_or_path": "models/none"}, "no model folder"),
    "pairs too rare": ({**ZH, "min_frequency": 10**6}, "no token comes of this"),
    "a hub's dataset name": ({**ZH, "dataset": "zhh"}, "no dataset is named 'zhh'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_with_a_sentence_and_leaves_nothing(case: str, do: Do, place: Workspace) -> None:
    values, says = WRONG[case]
    (place.root / "twice.txt").write_text("one\n\none\n", encoding="utf-8")
    (place.root / "list.json").write_text('{"a": 1}', encoding="utf-8")
    (place.root / "map.json").write_text('{"user": "x", "bos_token": "<b>"}', encoding="utf-8")
    registry = json.loads(place.dataset_info.read_text(encoding="utf-8"))
    registry["shake"] = {"file_name": "shake.txt", "columns": {"prompt": "text"}}
    place.dataset_info.write_text(json.dumps(registry), encoding="utf-8")
    (place.data / "shake.txt").write_text("To be, or not to be\n" * 30, encoding="utf-8")
    before = sorted(path.name for path in place.models.iterdir())
    with pytest.raises(StudioError) as told:
        do("tokenizer-extend", **{"model_name_or_path": "models/tiny", "output_dir": "models/more", **values})
    assert says in str(told.value)
    assert sorted(path.name for path in place.models.iterdir()) == before


def test_text_that_may_change_is_told(do: Do, place: Workspace) -> None:
    found = do("tokenizer-extend", model_name_or_path="models/tiny", scripts="any", allow_changed_ids="True", **ZH)
    assert found["old_text"]["changed"] > 0
    sample = found["old_text"]["samples"][0]
    assert sample["before"] != sample["after"]


@pytest.mark.parametrize("kind", ["Unigram", "WordPiece"])
def test_merges_of_another_kind_of_vocabulary_are_not_continued_but_lists_are(
    kind: str, do: Do, place: Workspace
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = place.models / "other"
    shutil.copytree(place.models / "tiny", folder)
    words = ["<|endoftext|>", "the", "river", "secret", "code", "of"]
    model = (
        models.Unigram([(word, -1.0) for word in words], unk_id=0)
        if kind == "Unigram"
        else models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="<|endoftext|>")
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llama"}), encoding="utf-8")
    with pytest.raises(ModelError, match=f"must be BPE, whose merges can be continued; .* has {kind}"):
        do("tokenizer-extend", model_name_or_path="models/other", **ZH)
    found = do("tokenizer-extend", model_name_or_path="models/other", add_special_tokens="<|tool|>",
               output_dir="models/more")  # fmt: skip
    assert found["tokens"]["added"] == 1


def test_a_stop_leaves_nothing_behind(do: Do, place: Workspace, ear: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: float, total: float, text: str) -> None:
        if text == "writing weights":
            raise StoppedError("stopped on request")

    ear.tell = stop
    before = sorted(path.name for path in place.models.iterdir())
    with pytest.raises(StoppedError):
        do("tokenizer-extend", model_name_or_path="models/tiny", **ZH)
    assert sorted(path.name for path in place.models.iterdir()) == before


def test_what_is_missing_is_told_before_anything_is_read() -> None:
    asked, _ = make_set(WORKS["tokenizer-extend"].asked, {})
    told = asked.complaints()
    assert [sentence.split(":")[0] for sentence in told] == ["--output_dir", "--model_name_or_path", "--dataset"]
    asked, _ = make_set(WORKS["tokenizer-extend"].asked, {"add_tokens": "a", "num_new_tokens": 3, "scripts": "hann"})
    assert (AUTO, ANY, *BLOCKS) == SCRIPTS
    assert any("--scripts hann" in sentence and "han" in sentence for sentence in asked.complaints())


def test_the_page_is_told_sizes_at_once(place: Workspace, untied: Path) -> None:
    work = WORKS["tokenizer-extend"]
    values = {"model_name_or_path": "models/untied", "dataset": "zh", "output_dir": "models/more"}
    facts = work.facts(make_set(work.asked, values)[0], place)
    assert facts["rows"] - facts["tokens"] == facts["free_rows"] >= 40
    with pytest.raises(ArgumentError, match="exists already"):
        work.facts(make_set(work.asked, values | {"output_dir": "models/tiny"})[0], place)
