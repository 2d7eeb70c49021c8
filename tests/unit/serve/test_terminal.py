import io
import json
from typing import Any

import pytest

from studio.arguments.generation import GenerationArguments
from studio.errors import StudioError
from studio.model.answer import TooLongError
from studio.serve.showing import Screen
from studio.serve.terminal import COMMANDS, Chat
from studio.serve.transcript import Settings, Transcript
from studio.workspace import Workspace
from tests.unit.serve.scripted import ScriptedEngine

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class Talk:
    """A conversation whose lines are given at once."""

    def __init__(self, engine: ScriptedEngine, place: Workspace, *, terminal: bool = False, **more: Any) -> None:
        self.engine = engine
        self.out, self.err = Terminal() if terminal else io.StringIO(), io.StringIO()
        asked = {"system": "", "shows_tools": True, "special": (), **more}
        self.transcript = Transcript(place, **asked)
        self.settings = Settings(GenerationArguments())
        screen = Screen(self.out, self.err, colour=terminal)
        self.chat = Chat(engine, self.transcript, self.settings, screen)

    def say(self, *lines: str) -> bool:
        return self.chat.run(iter(lines))

    @property
    def notes(self) -> str:
        return self.err.getvalue()


def test_each_line_is_a_question_and_what_was_said_is_remembered(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("first", "second"), workspace, system="Be brief.")
    assert talk.say("one", "", "two")
    assert talk.out.getvalue() == "first\nsecond\n"
    assert talk.engine.asked[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "first"},
        {"role": "user", "content": "two"},
    ]


def test_clear_forgets_what_was_said_but_not_the_system_message(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("x"), workspace, system="Be brief.")
    talk.say("one", "/clear", "two", "/system", "three", "/system Be kind.", "four")
    asked = [[message["content"] for message in each["messages"]] for each in talk.engine.asked]
    assert asked[1] == ["Be brief.", "two"]
    assert asked[2][0] == "two"
    assert asked[3][0] == "Be kind."


def test_a_question_may_begin_with_a_slash_and_a_path_is_no_command(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("x"), workspace)
    talk.say("//clear", "/etc/passwd is what?")
    assert [each["messages"][-1]["content"] for each in talk.engine.asked] == ["/clear", "/etc/passwd is what?"]


def test_a_file_that_cannot_be_written_is_told_and_the_talk_goes_on(workspace: Workspace) -> None:
    (workspace.root / "folder.jsonl").mkdir()
    (workspace.root / "file").write_text("", encoding="utf-8")
    (workspace.root / "latin.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    talk = Talk(ScriptedEngine("x"), workspace)
    assert not talk.say("one", "/save folder.jsonl", "/save file/talk.json", "/save latin.jsonl", "two")
    assert "folder.jsonl: cannot be written" in talk.notes
    assert "file/talk.json: cannot be written" in talk.notes
    assert "latin.jsonl is not in UTF-8" in talk.notes
    assert (workspace.root / "latin.jsonl").read_bytes() == b'{"text": "caf\xe9"}\n'
    assert len(talk.transcript.messages) == 4
    talk.say("/save talk.jsonl")
    assert (workspace.root / "talk.jsonl").is_file()


def test_an_unknown_command_asks_nothing(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("x"), workspace)
    assert not talk.say("/clera")
    assert "there is no command /clera" in talk.notes
    assert "Did you mean clear?" in talk.notes
    assert not talk.engine.asked


def test_exit_ends_and_help_tells_every_command(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("x"), workspace)
    talk.say("/help", "/exit", "never asked")
    assert not talk.engine.asked
    assert all(f"/{name} " in talk.notes for name in COMMANDS)


def test_retry_asks_the_last_question_anew(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("first", "second", "third"), workspace)
    talk.say("one", "two", "/retry")
    assert [message["content"] for message in talk.engine.asked[2]["messages"]] == ["one", "first", "two"]
    assert [message["content"] for message in talk.transcript.messages] == ["one", "first", "two", "third"]
    assert not Talk(ScriptedEngine("x"), workspace).say("/retry")


def test_settings_change_how_tokens_are_chosen(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("x"), workspace)
    assert talk.say("/set temperature 0.7 max_new_tokens 9", "one", "/set seed 5", "two", "/retry", "/set")
    assert talk.engine.asked[0]["asked"] == GenerationArguments(do_sample=True, temperature=0.7, max_new_tokens=9)
    assert [each["seed"] for each in talk.engine.asked] == [None, 5, 6]
    assert "(do_sample True)" in talk.notes
    assert "(seed 7)" in talk.notes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("temperature -1", "temperature -1: must be a number, above 0"),
        ("temprature 1", "Did you mean temperature?"),
        ("temperature", "'temperature' has no value"),
        ("seed x", "seed x: must be a whole number"),
        ("seed --5", "seed --5: must be a whole number"),
        ("seed ²", "seed ²: must be a whole number"),
    ],
)
def test_a_wrong_setting_is_told_and_changes_nothing(workspace: Workspace, text: str, reason: str) -> None:
    talk = Talk(ScriptedEngine("x"), workspace)
    assert not talk.say(f"/set {text}")
    assert reason in talk.notes
    assert talk.settings.generation == GenerationArguments()


def test_an_error_is_told_and_the_question_is_taken_back(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("x", error=TooLongError(9000, 4096)), workspace)
    assert not talk.say("long", "/help")
    assert "must be shorter than the model's context" in talk.notes
    assert talk.transcript.messages == []


def test_a_failure_in_the_middle_takes_the_question_back_too(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("begun", breaks=StudioError("the model failed.")), workspace)
    assert not talk.say("one")
    assert talk.transcript.messages == []


class Interrupted(ScriptedEngine):
    """Ctrl-C comes after the first piece of its first answer."""

    def start(self, *args: Any, **more: Any) -> Any:
        answer = super().start(*args, **more)
        if len(self.answers) > 1:
            return answer
        pieces = iter(answer)

        class Stopped:
            prompt, reason, cancel = "", "", answer.cancel

            def __iter__(self) -> Any:
                yield next(pieces)
                raise KeyboardInterrupt

        return Stopped()


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(workspace: Workspace) -> None:
    talk = Talk(Interrupted("first answer"), workspace)
    assert talk.say("one", "two")
    assert talk.engine.answers[0].cancelled
    assert [message["content"] for message in talk.transcript.messages][1:] == ["fir", "two", "first answer"]
    assert "(stopped)" in talk.notes


def test_ctrl_c_between_questions_ends_nothing(workspace: Workspace) -> None:
    class Lines:
        given = iter([KeyboardInterrupt(), "one"])

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> str:
            found = next(self.given)
            if isinstance(found, KeyboardInterrupt):
                raise found
            return found

    talk = Talk(ScriptedEngine("x"), workspace)
    assert talk.chat.run(Lines())
    assert len(talk.engine.asked) == 1


def test_what_the_model_says_cannot_steer_the_terminal(workspace: Workspace) -> None:
    hostile = "\x1b]0;title\x07\x1b[2Jred\r\x9b31m\u202eevil 👩\u200d💻"
    talk = Talk(ScriptedEngine(hostile), workspace, terminal=True)
    talk.say("one")
    shown = talk.out.getvalue()
    assert not set(shown) & {"\x1b", "\x07", "\r", "\x9b", "\u202e"}
    assert "\\x1b[2Jred" in shown
    assert "👩\u200d💻" in shown
    piped = Talk(ScriptedEngine(hostile), workspace)
    piped.say("one")
    assert piped.out.getvalue() == f"{hostile}\n"


def test_thinking_is_dimmed_on_a_terminal_and_marked_in_a_pipe(workspace: Workspace) -> None:
    engine = ScriptedEngine("<think>hm</think>Yes.")
    piped, shown = Talk(engine, workspace), Talk(engine, workspace, terminal=True)
    piped.say("one")
    shown.say("one")
    assert piped.out.getvalue() == "<think>\nhm\n</think>\n\nYes.\n"
    assert shown.out.getvalue() == "\033[2mhm\033[0m\n\nYes.\n"
    assert piped.transcript.messages[-1] == {"role": "assistant", "content": "Yes.", "reasoning_content": "hm"}


def with_tools(place: Workspace) -> None:
    (place.root / "tools.json").write_text(json.dumps(TOOLS), encoding="utf-8")


def test_a_call_is_shown_and_answered_by_hand(workspace: Workspace) -> None:
    with_tools(workspace)
    talk = Talk(ScriptedEngine(f"Let me see. {CALL}", "It rains."), workspace)
    assert talk.say("/tools tools.json", "rain?", "/tool heavy rain")
    assert talk.out.getvalue() == 'Let me see.\n→ weather({"city": "Oslo"})\nIt rains.\n'
    assert "(tools: weather)" in talk.notes
    assert "/tool TEXT" in talk.notes
    called, result = talk.engine.asked[1]["messages"][1:3]
    assert called["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert result == {
        "role": "tool", "name": "weather", "tool_call_id": called["tool_calls"][0]["id"], "content": "heavy rain",
    }  # fmt: skip
    assert talk.engine.asked[1]["tools"] == TOOLS


def test_several_calls_are_answered_one_by_one(workspace: Workspace) -> None:
    with_tools(workspace)
    talk = Talk(ScriptedEngine(CALL + CALL, "Both."), workspace)
    talk.say("/tools tools.json", "rain?", "/tool one")
    assert len(talk.engine.asked) == 1
    talk.say("/tool two")
    assert [message["content"] for message in talk.transcript.messages[2:4]] == ["one", "two"]
    assert not talk.say("/tool three")
    assert "no call of a tool waits" in talk.notes


def test_tools_that_cannot_be_are_told(workspace: Workspace) -> None:
    (workspace.root / "bad.json").write_text('[{"type": "function", "function": {}}]')
    talk = Talk(ScriptedEngine("x"), workspace)
    assert not talk.say("/tools none.json", "/tools bad.json")
    assert "none.json: cannot be read: No such file" in talk.notes
    assert "bad.json: must be a JSON list of tools" in talk.notes
    assert not Talk(ScriptedEngine("x"), workspace, shows_tools=False).say("/tools bad.json")


def test_a_saved_conversation_is_a_dataset(workspace: Workspace) -> None:
    with_tools(workspace)
    talk = Talk(ScriptedEngine(CALL, "It rains."), workspace, system="Be brief.")
    assert talk.say("/tools tools.json", "rain?", "/tool heavy", "/save data/talk.json", "/save data/talks.jsonl")
    assert talk.say("and now?", "/save data/talks.jsonl")
    (row,) = json.loads((workspace.data / "talk.json").read_text(encoding="utf-8"))
    assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert row["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"city": "Oslo"}'
    assert row["tools"] == TOOLS
    lines = (workspace.data / "talks.jsonl").read_text(encoding="utf-8").splitlines()
    assert [len(json.loads(line)["messages"]) for line in lines] == [5, 7]
    assert json.loads(lines[0]) == row


def test_nothing_is_saved_over_another_file_or_outside_a_name(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("x"), workspace)
    assert not talk.say("/save data/talk.json")
    assert "nothing has been said yet" in talk.notes
    assert not talk.say("one", "/save", "/save dataset_info.json")
    assert "needs the name of a file" in talk.notes
    assert "is there already" in talk.notes


def test_an_answer_that_is_cut_off_says_so(workspace: Workspace) -> None:
    talk = Talk(ScriptedEngine("long", cut=True), workspace)
    talk.say("one")
    assert "cut off after 2 tokens" in talk.notes
