"""The preview shows what training sees, and lets no row talk to the terminal."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from studio.data.catalog import read_catalog
from studio.data.inspect import RowView, as_json, as_text, preview, token_bytes, visible
from studio.data.render import View
from studio.data.rows import prepare
from studio.model.templates import choose_template
from studio.model.tokenizer import LightTokenizer, open_tokenizer
from studio.workspace import Workspace


@pytest.fixture(scope="session")
def tokenizer(tiny_chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> LightTokenizer:
    return open_tokenizer(tiny_chat_model, tmp_path_factory.mktemp("cache"))


def shown(place: Workspace, tokenizer: LightTokenizer, name: str, **how: Any) -> list[RowView]:
    template, _ = choose_template(how.pop("template", ""), tokenizer, place)
    view = how.pop("view", View())
    start, count = how.pop("start", 0), how.pop("count", 3)
    return preview(read_catalog(place)[name], tokenizer, template, view, place, start, count)


def write(place: Workspace, *rows: Any) -> None:
    (place.data / "tiny_sft.json").write_text(json.dumps(rows), encoding="utf-8")


def test_the_notes_stand_in_the_json_too() -> None:
    assert as_json([], ["one note"])["notes"] == ["one note"]


def test_its_tokens_and_mask_are_those_that_training_gets(workspace: Workspace, tokenizer: LightTokenizer):
    template, _ = choose_template("", tokenizer, workspace)
    entry = read_catalog(workspace)["tiny_share"]
    views = preview(entry, tokenizer, template, View(), workspace, 0, 20)
    rows, _ = prepare([entry], tokenizer, template, View(), workspace)
    from_preview = [(view.number, one.input_ids, one.loss_mask) for view in views for one in view.renderings]
    assert from_preview == [(row["row"], row["input_ids"], row["loss_mask"]) for row in rows]


def test_a_page_starts_where_it_is_asked_to(workspace: Workspace, tokenizer: LightTokenizer):
    views = shown(workspace, tokenizer, "tiny_sft", start=5, count=2)
    assert [view.number for view in views] == [6, 7]
    assert views[0].raw["instruction"].startswith("Tell the secret")
    assert shown(workspace, tokenizer, "tiny_sft", start=39, count=5)[-1].number == 40


def test_as_json_it_has_every_part(workspace: Workspace, tokenizer: LightTokenizer):
    plain = as_json(shown(workspace, tokenizer, "tiny_sft", count=1))
    assert json.loads(json.dumps(plain)) == plain
    (row,) = plain["rows"]
    assert row["row"] == 1
    assert row["raw"]["output"] == "It is OYKOT."
    assert row["messages"][1] == {"role": "assistant", "content": "It is OYKOT."}
    assert row["refused"] == ""
    (one,) = row["renderings"]
    assert "".join(one["tokens"]) == one["text"]
    learned = [token for token, bears in zip(one["tokens"], one["loss_mask"], strict=True) if bears]
    assert "".join(learned) == "It is OYKOT.<|im_end|>"
    assert plain["statistics"][0] == "rows shown: 1, refused: 0"


def test_a_refused_row_is_shown_with_its_reason(workspace: Workspace, tokenizer: LightTokenizer):
    write(workspace, {"instruction": "q"}, {"instruction": "q", "output": "a"})
    refused, fine = shown(workspace, tokenizer, "tiny_sft")
    assert "output" in refused.refused
    assert refused.raw == {"instruction": "q"}
    assert refused.renderings == ()
    assert fine.renderings
    assert "refused: " in as_text([refused, fine], colour=False)


def test_texts_for_a_conversation_stage_say_which_stage_they_fit(workspace: Workspace, tokenizer: LightTokenizer):
    assert "stage pt" in shown(workspace, tokenizer, "tiny_pt")[0].refused
    assert shown(workspace, tokenizer, "tiny_pt", view=View(wants="documents"))[0].renderings


def test_without_colour_what_bears_loss_stands_in_brackets(workspace: Workspace, tokenizer: LightTokenizer):
    text = as_text(shown(workspace, tokenizer, "tiny_sft", count=1), colour=False)
    assert "\033" not in text
    assert "⟦It is OYKOT.<|im_end|>⟧" in text
    assert "assistant↵\n⟦" in text


def test_with_colour_what_bears_loss_has_a_ground_of_its_own(workspace: Workspace, tokenizer: LightTokenizer):
    text = as_text(shown(workspace, tokenizer, "tiny_sft", count=1), colour=True)
    pieces = re.findall(r"\033\[30;(?:42|102)m(.*?)\033\[0m", text)
    assert "".join(pieces) == "It is OYKOT.<|im_end|>"
    assert len(pieces) > 2


def test_a_chinese_character_of_several_tokens_stays_whole(workspace: Workspace, tokenizer: LightTokenizer):
    write(workspace, {"instruction": "鑫鱻？", "output": "龘。"})
    text = as_text(shown(workspace, tokenizer, "tiny_sft"), colour=False)
    assert "⟦龘。<|im_end|>⟧" in text


def test_a_row_cannot_write_terminal_codes(workspace: Workspace, tokenizer: LightTokenizer):
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\b\u202etxt.exe"
    write(workspace, {"instruction": evil, "output": evil}, {evil: evil})
    text = as_text(shown(workspace, tokenizer, "tiny_sft"), colour=False)
    assert visible(text) == text
    assert "\\x1b[2J" in text
    coloured = as_text(shown(workspace, tokenizer, "tiny_sft"), colour=True)
    without_ours = re.sub(r"\033\[(?:0|1|31|30;42|30;102|37;100|97;40)m", "", coloured)
    assert visible(without_ours) == without_ours


@given(some.text(some.characters(exclude_categories=["Cs"])))
def test_the_tokens_of_a_text_are_its_bytes(tokenizer: LightTokenizer, text: str):
    encoding = tokenizer.fast.encode(text, add_special_tokens=False)
    as_normalised = tokenizer.fast.normalizer.normalize_str(text)
    assert b"".join(token_bytes(tokenizer, encoding.ids)).decode() == as_normalised


def register(place: Workspace, rows: list[dict[str, Any]], **entry: Any) -> None:
    """Put rows into the workspace under the name `mine`."""
    (place.data / "mine.json").write_text(json.dumps(rows), encoding="utf-8")
    known = json.loads(place.dataset_info.read_text()) if place.dataset_info.exists() else {}
    place.dataset_info.write_text(json.dumps({**known, "mine": {"file_name": "mine.json", **entry}}))


def test_a_pair_is_shown_with_both_sides(workspace: Workspace, tokenizer: LightTokenizer):
    register(workspace, [{"prompt": "q", "chosen": "good", "rejected": "bad"}], formatting="pairs")
    views = shown(workspace, tokenizer, "mine")
    plain = as_json(views)
    (row,) = plain["rows"]
    assert [each["side"] for each in row["renderings"]] == ["chosen", "rejected"]
    assert (row["messages"], row["chosen"]) == (
        [{"role": "user", "content": "q"}],
        [{"role": "assistant", "content": "good"}],
    )
    text = as_text(views, colour=False)
    assert "[chosen, 1 of 2, " in text and "⟦good<|im_end|>⟧" in text
    assert "[rejected, 2 of 2, " in text and "⟦bad<|im_end|>⟧" in text
    assert not any("become several" in sentence for sentence in plain["statistics"])


def test_a_side_that_cannot_be_shown_is_named(workspace: Workspace, tokenizer: LightTokenizer):
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
    register(workspace, [{"prompt": "q", "chosen": "good", "rejected": [call]}], formatting="pairs")
    assert shown(workspace, tokenizer, "mine")[0].refused.startswith("the rejected side: the chat template")


def test_a_label_and_tool_calls_are_shown(workspace: Workspace, tokenizer: LightTokenizer):
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 1}'}}]}
    messages = [{"role": "user", "content": "q"}, {**call, "reasoning_content": "hm"}]
    tools = [{"name": "add"}]
    columns = {"messages": "messages", "kto_tag": "label", "tools": "tools"}
    register(workspace, [{"messages": messages, "label": False, "tools": tools}], formatting="openai", columns=columns)
    views = shown(workspace, tokenizer, "mine", template="qwen3")
    text = as_text(views, colour=False)
    assert '  assistant: (thinks) hm (calls) add {"a": 1}' in text
    assert "  label: the answer is not wanted" in text
    (row,) = as_json(views)["rows"]
    assert row["label"] is False and row["tools"][0]["function"] == {"name": "add"}


def test_statistics_tell_what_is_cut_and_left_out(workspace: Workspace, tokenizer: LightTokenizer):
    write(workspace, {"instruction": "q", "output": "word " * 50}, {"instruction": "word " * 50, "output": "a"})
    said = as_json(shown(workspace, tokenizer, "tiny_sft", view=View(cutoff_len=40)))["statistics"]
    assert "2 truncated at cutoff_len" in said
    assert "1 without any token that bears loss: they are left out of training" in said


def test_importing_it_loads_neither_torch_nor_transformers_nor_datasets():
    code = (
        "import sys, studio.data.inspect;"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_of_several_files_show_where_they_stand(workspace: Workspace, tokenizer: LightTokenizer):
    for name in "ab":
        (workspace.data / f"part-{name}.jsonl").write_text('{"instruction": "q", "output": "a"}\n{"instruction": 1}\n')
    info = workspace.dataset_info
    info.write_text(json.dumps(json.loads(info.read_text()) | {"parts": {"file_name": "part-*.jsonl"}}))
    views = shown(workspace, tokenizer, "parts", start=1, count=3)
    assert [(view.number, view.source) for view in views] == [
        (2, "data/part-a.jsonl, row 2"),
        (3, "data/part-b.jsonl, row 1"),
        (4, "data/part-b.jsonl, row 2"),
    ]
    assert "── row 4 (data/part-b.jsonl, row 2)" in as_text(views, colour=False)
    assert [row["source"] for row in as_json(views)["rows"]] == [view.source for view in views]
