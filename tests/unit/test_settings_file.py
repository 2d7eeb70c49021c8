"""Settings files hold names and plain values; everything cleverer is refused with its line."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.errors import StudioError
from studio.settings_file import LIMIT_BYTES, read_settings


def write(folder: Path, text: str | bytes, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(StudioError) as caught:
        read_settings(path)
    assert caught.value.exit_code == 10
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), path.name)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 1e-4\nb: no\nc: 010\nd: 12:30\ne: 1_000",
         {"a": "1e-4", "b": "no", "c": "010", "d": "12:30", "e": "1_000"}),
        ("a: 2024-01-01\nb: .5\nc: 0x1F\nd: True", {"a": "2024-01-01", "b": ".5", "c": "0x1F", "d": "True"}),
        ("a: null\nb: ~\nc:\nd: 'null'\ne: \"\"", {"d": "null", "e": ""}),
        ("a: [x, 1, no]\nb:\n- y\n- 2\nc: []", {"a": ("x", "1", "no"), "b": ("y", "2"), "c": ()}),
        ("a:\n  b: 1e-3\n  c: no\n  d: '1'\n  e: [1, x]\n  f: true\n  g: null\n  h: {}\n  i: NaN",
         {"a": {"b": 0.001, "c": "no", "d": "1", "e": [1, "x"], "f": True, "g": None, "h": {}, "i": "NaN"}}),
        ("# a comment\na: b # another\n", {"a": "b"}),
        ("---\na: b\n", {"a": "b"}),
        ("", {}),
        ("# nothing\n", {}),
        ("\ufeffa: 中文\n", {"a": "中文"}),
        ("a: b\r\nc: d\r\n", {"a": "b", "c": "d"}),
        ('{"a": 1, "b": [c, d]}', {"a": "1", "b": ("c", "d")}),
    ],
)  # fmt: skip
def test_yaml_is_read_as_text(tmp_path: Path, text: str, values: dict[str, Any]) -> None:
    assert read_settings(write(tmp_path, text)) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('{"a": 1e-4, "b": 010}'.replace("010", "10"), {"a": "1e-4", "b": "10"}),
        ('{"a": true, "b": null, "c": "null", "d": ""}', {"a": True, "c": "null", "d": ""}),
        ('{"a": ["x", 1], "b": []}', {"a": ("x", "1"), "b": ()}),
        ('{"a": {"b": 1e-3, "c": [1, "x"], "d": null}}', {"a": {"b": 0.001, "c": [1, "x"], "d": None}}),
        ('{"a": 123456789012345678901234567890}', {"a": "123456789012345678901234567890"}),
        ('\ufeff{"a": "中文"}', {"a": "中文"}),
        ("{}", {}),
    ],
)
def test_json_keeps_its_numbers_as_text(tmp_path: Path, text: str, values: dict[str, Any]) -> None:
    assert read_settings(write(tmp_path, text, "run.json")) == values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", "run.yaml:2: YAML tags are not allowed."),
        ("a: !!str 1\n", "run.yaml:1: YAML tags are not allowed."),
        ("a: ! 1\n", "run.yaml:1: YAML tags are not allowed."),
        ("a: &x 1\nb: 2\n", "run.yaml:1: YAML anchors and aliases are not allowed."),
        ("a: 1\nb: *x\n", "run.yaml:2: YAML anchors and aliases are not allowed."),
        ("a: &x [b, b]\nc: &y [*x, *x]\nd: [*y, *y]\n", "run.yaml:1: YAML anchors and aliases are not allowed."),
        ("a: 1\n<<: {b: 2}\n", "run.yaml:2: YAML merge keys are not allowed."),
        ("a: 1\nb: 2\na: 3\n", "run.yaml:3: a stands twice. Keep one."),
        ("a:\n  b: 1\n  b: 2\n", "run.yaml:3: b stands twice. Keep one."),
        ("a: 1\n---\nb: 2\n", "run.yaml:2:1: a settings file is one document; a second one begins here."),
        ("a:\n\tb: 1\n", "run.yaml:2:1: YAML allows no tab here. Use blanks."),
        ("a: 'b\n", "run.yaml:2:1: not YAML: found unexpected end of stream."),
        ("a: b: c\n", "run.yaml:1:5: not YAML: mapping values are not allowed here."),
        ("? [a, b]\n: 1\n", "run.yaml:1: a name must be plain text."),
        ("null: 1\n", "run.yaml:1: a name must be plain text."),
        ("a: [b, [c]]\n", "run.yaml:1: a list holds plain words only."),
        ("a: [{b: c}]\n", "run.yaml:1: a list holds plain words only."),
        ("- a\n- b\n", "run.yaml:1: must hold `name: value` lines; it holds a list."),
        ("just text\n", "run.yaml:1: must hold `name: value` lines; it holds a single value."),
        ("a: 1\nb: \x00\n", "run.yaml:2: the character '\\x00' may not stand in YAML. Remove it."),
        ("a: 1\nb: \x1b[31m\n", "run.yaml:2: the character '\\x1b' may not stand in YAML."),
    ],
)
def test_yaml_that_is_more_than_names_and_values_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert refusal(write(tmp_path, text)).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1,\n "b": 2,\n}', "run.json:3:1: not JSON:"),
        ('{"a": 1,\n "b": 2,\n "a": 3}', "run.json:3: a stands twice. Keep one."),
        ("[1]", "run.json:1: must hold `name: value` lines; it holds a list."),
        ("5", "run.json:1: must hold `name: value` lines; it holds a single value."),
        ("", "run.json:1:1: not JSON:"),
        ("{'a': 1}", "run.json:1:2: not JSON:"),
    ],
)
def test_json_that_cannot_be_read_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert refusal(write(tmp_path, text, "run.json")).startswith(told)


@pytest.mark.parametrize("name", ["run.yaml", "run.json"])
@pytest.mark.parametrize("opened", ['{"a":', "["], ids=["names", "lists"])
def test_a_file_of_nothing_but_brackets_is_told_at_once(tmp_path: Path, name: str, opened: str) -> None:
    assert refusal(write(tmp_path, opened * 100_000, name)).endswith("is nested too deeply to be a settings file.")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.yaml").endswith("does not exist. Check the path.")


def test_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    assert refusal(tmp_path / "a.yaml").endswith("is a folder. Name a file in it.")


def test_what_is_no_plain_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    assert "is not a plain file" in refusal(tmp_path / "a.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1")
    path.chmod(0)
    assert "may not be read" in refusal(path)


@pytest.mark.parametrize("name", ["run.yaml", "run.json"])
def test_a_huge_file_is_told_and_not_read(tmp_path: Path, name: str) -> None:
    assert "at most 1 MiB" in refusal(write(tmp_path, b"a: 1\n" * (10 * LIMIT_BYTES // 5), name))


@pytest.mark.parametrize("text", [b"a: 1\nb: \xff\n", "a: 1\nb: 中文\n".encode("gb18030"), "a: 1".encode("utf-16")])
def test_text_that_is_not_utf8_is_told_with_its_line(tmp_path: Path, text: bytes) -> None:
    told = refusal(write(tmp_path, text))
    assert told.startswith(("run.yaml:2: must be UTF-8; byte", "run.yaml:1: must be UTF-8; byte 0 is not"))


@given(st.text(max_size=60) | st.text("abc:-[]{}&*!|>'\"#%@`,?\n\t 1.~", max_size=60))
def test_any_text_is_read_or_refused_with_a_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for name in ("any.yaml", "any.json"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            assert isinstance(read_settings(path), dict)
        except StudioError as error:
            assert str(error).startswith(str(path))
