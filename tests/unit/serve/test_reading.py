import json
from typing import Any

import pytest

from studio.serve.reading import Reader

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"properties": {"city": {}}}}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


def read(text: str, size: int, **more: Any) -> tuple[str, str, list[dict[str, Any]], int]:
    """Thought, said and called when the text comes in pieces of this size; and how much was said before the end."""
    reader = Reader(**more)
    deltas = [delta for at in range(0, len(text), size) for delta in reader.push(text[at : at + size])]
    early = "".join(delta.get("content", "") for delta in deltas)
    deltas += reader.finish()
    thought, said = ("".join(delta.get(name, "") for delta in deltas) for name in ("reasoning_content", "content"))
    streamed = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["id"] for call in streamed] == [call["id"] for call in reader.calls]
    return thought, said, reader.calls, len(early)


SIZES = pytest.mark.parametrize("size", [1, 3, 1000])


@SIZES
def test_plain_text_goes_through_at_once(size: int) -> None:
    thought, said, calls, early = read("Two < three. <b>Yes</b>", size)
    assert (thought, said, calls) == ("", "Two < three. <b>Yes</b>", [])
    assert early == len(said)


@SIZES
def test_thinking_is_told_apart_from_the_answer(size: int) -> None:
    text = "\n<think>\nFirst <this>, then that.\n</think>\n\nDone."
    assert read(text, size)[:2] == ("First <this>, then that.", "Done.")


@SIZES
def test_thinking_that_the_prompt_began_needs_no_opening(size: int) -> None:
    assert read("so be it\n</think>\nDone.", size, thinks=True)[:2] == ("so be it", "Done.")


@SIZES
def test_thinking_that_is_cut_off_is_no_answer(size: int) -> None:
    assert read("<think>never done", size)[:2] == ("never done", "")


@SIZES
def test_a_mark_in_the_middle_of_an_answer_is_text(size: int) -> None:
    assert read("The tag <think> opens.", size)[:2] == ("", "The tag <think> opens.")


@SIZES
def test_calls_are_taken_out_and_the_text_before_them_is_told_early(size: int) -> None:
    _, said, calls, early = read(f"I look it up.\n{CALL}", size, tools=TOOLS)
    assert said == "I look it up."
    assert early == len(said)
    assert [call["function"]["name"] for call in calls] == ["weather"]
    assert json.loads(calls[0]["function"]["arguments"]) == {"city": "Oslo"}
    assert calls[0]["id"].startswith("call_")


@SIZES
def test_several_calls_are_numbered(size: int) -> None:
    reader = Reader(TOOLS)
    text = f"{CALL}\n{CALL}"
    deltas = [delta for at in range(0, len(text), size) for delta in reader.push(text[at : at + size])]
    deltas += reader.finish()
    assert [delta["tool_calls"][0]["index"] for delta in deltas] == [0, 1]


@SIZES
def test_what_only_looks_like_a_call_stays_text(size: int) -> None:
    text = 'Write <tool_call> and {"name": 1} there.'
    assert read(text, size, tools=TOOLS)[:3] == ("", text, [])


@SIZES
def test_thinking_comes_before_calls(size: int) -> None:
    thought, said, calls, _ = read(f"<think>hm</think>{CALL}", size, tools=TOOLS)
    assert (thought, said, len(calls)) == ("hm", "", 1)


def test_special_tokens_that_mark_no_call_are_not_shown() -> None:
    reader = Reader(TOOLS, special=("<|eom|>", "<s>"))
    deltas = [*reader.push("Fine"), *reader.push("<|eom|>"), *reader.push(" so"), *reader.finish()]
    assert "".join(delta["content"] for delta in deltas) == "Fine so"
