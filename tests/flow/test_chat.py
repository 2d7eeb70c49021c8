"""studio chat as people use it: in a terminal, in a pipe, with one question."""

import errno
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studio.workspace import Workspace
from tests.flow.parrot import SEES, SONG, write_parrot

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "HF_HUB_OFFLINE": "1", "TERM": "dumb"}


@pytest.fixture(scope="module")
def parrots(place: Workspace, tiny_tokenizer_folder: Path) -> Workspace:
    write_parrot(place.models / "parrot", tiny_tokenizer_folder)
    # Room for a song that is still being sung whenever a busy machine gets round to pressing a key.
    write_parrot(place.models / "endless", tiny_tokenizer_folder, context=40_000)
    (place.root / "tools.json").write_text(json.dumps(TOOLS))
    return place


def song(tokens: int) -> str:
    return "".join(SONG[number % len(SONG)] for number in range(tokens)).lstrip()


def words(place: Workspace, *more: str, tokens: int = 6, model: str = "parrot") -> list[str]:
    command = [sys.executable, "-m", "studio", "--workspace", str(place.root), "chat"]
    return [*command, "--model_name_or_path", f"models/{model}", "--max_new_tokens", str(tokens), *more]


def environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(Path(__file__).parents[2])}


def piped(place: Workspace, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words(place, *more), input=text, capture_output=True, text=True, env=environment(), timeout=120, check=False
    )


def test_lines_from_a_pipe_are_questions_and_commands(parrots: Workspace) -> None:
    lines = ["one", "two lines \\", "are one", "/tools tools.json", "rain?", "/tool heavy", "/save data/talk.json"]
    done = piped(parrots, "\n".join(lines))
    call = '→ weather({"city": "Oslo"})'
    assert done.stdout.splitlines() == [song(6), song(6), SEES, call, SEES, call]
    assert "saved: data/talk.json" in done.stderr
    assert done.returncode == 0
    (row,) = json.loads((parrots.data / "talk.json").read_text(encoding="utf-8"))
    assert [message["content"] for message in row["messages"] if message["role"] == "user"] == [
        "one", "two lines \nare one", "rain?",
    ]  # fmt: skip


def test_a_saved_conversation_is_registered_and_previewed_as_a_dataset(parrots: Workspace) -> None:
    piped(parrots, "one\n/tools tools.json\nrain?\n/tool heavy\n/save data/saved.json\n")
    registry = json.loads(parrots.dataset_info.read_text(encoding="utf-8"))
    registry["saved"] = {"file_name": "saved.json", "formatting": "openai"}
    parrots.dataset_info.write_text(json.dumps(registry), encoding="utf-8")
    command = [sys.executable, "-m", "studio", "--workspace", str(parrots.root), "data", "preview", "saved"]
    done = subprocess.run(
        [*command, "--model_name_or_path", "models/tiny-chat", "--template", "chatml"],
        capture_output=True, text=True, env=environment(), timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "weather" in done.stdout
    assert "shown: 1, refused: 0" in done.stdout


def test_an_error_in_a_pipe_is_told_and_counts_at_the_end(parrots: Workspace) -> None:
    done = piped(parrots, "/tools none.json\none\n")
    assert done.stdout == song(6) + "\n"
    assert "none.json: cannot be read" in done.stderr
    assert done.returncode == 10


def test_one_question_prints_its_answer_and_ends(parrots: Workspace) -> None:
    done = piped(parrots, "", "--prompt", "one", "--system", "Sing.")
    assert (done.returncode, done.stdout) == (0, song(6) + "\n")
    long = piped(parrots, "", "--prompt", "7" * 600)
    assert (long.returncode, long.stdout) == (10, "")
    assert "must be shorter than the model's context of 512 tokens" in long.stderr


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: list[str]) -> None:
        self.seen = ""
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            # A shell starts what runs in the background deaf to Ctrl-C, and children inherit that.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execve(command[0], command, environment())

    def until(self, text: str, count: int = 1) -> None:
        """Read until the text has been shown so many times."""
        end = time.monotonic() + 60
        while self.seen.count(text) < count:
            assert time.monotonic() < end, f"{text!r} never came: {self.seen!r}"
            self._read()

    def type(self, text: str) -> None:
        os.write(self._handle, text.encode())

    def press(self, key: str, text: str) -> None:
        """Press a key until a text is shown: readline may miss a Ctrl-C between its prompt and its waiting."""
        end = time.monotonic() + 60
        while text not in self.seen:
            assert time.monotonic() < end, f"{text!r} never came: {self.seen!r}"
            self.type(key)
            for _ in range(10):
                self._read()

    def ended(self) -> int:
        """The exit code, after everything that was still shown."""
        end = time.monotonic() + 60
        while self._read():
            assert time.monotonic() < end
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        os.close(self._handle)

    def _read(self) -> bool:
        if not select.select([self._handle], [], [], 0.2)[0]:
            return True
        try:
            got = os.read(self._handle, 65536)
        except OSError as error:
            # This is how Linux tells that the other side of a terminal has closed.
            assert error.errno == errno.EIO
            return False
        self.seen += got.decode(errors="replace")
        return bool(got)


def test_a_conversation_in_a_terminal(parrots: Workspace) -> None:
    opened = Terminal(words(parrots, tokens=30_000, model="endless"))
    opened.until("endless listens")
    opened.until("> ")
    opened.type("one\n")
    opened.until("patience")
    opened.type("\x03")
    opened.until("(stopped)")
    opened.type("/set max_new_tokens 3\n")
    opened.until("(max_new_tokens 3)")
    opened.type("two\n")
    opened.until("(cut off after 3 tokens")
    opened.until("> ", count=4)
    opened.press("\x03", "Ctrl-D or /exit ends")
    opened.type("\x04")
    assert opened.ended() == 0
    opened.close()
