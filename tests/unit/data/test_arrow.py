"""Arrow: files and streams of batches, and the folders that the datasets library saves."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studio.data.source import count, page, rows
from studio.errors import DatasetError, RowError

TALK = [{"conversations": [{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": "答"}]} for n in range(900)]


def write(path: Path, listed: list[dict[str, Any]], kind: str, batch: int = 1000, **options: Any) -> Path:
    table = pa.Table.from_pylist(listed)
    made = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with made(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table, max_chunksize=batch)
    return path


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        list(rows(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["file", "stream"])
@pytest.mark.parametrize("batch", [7, 10_000])
@pytest.mark.parametrize("packing", [None, "zstd", "lz4"])
def test_nested_rows_come_out_as_lists_and_objects(tmp_path: Path, kind: str, batch: int, packing: str | None) -> None:
    path = write(tmp_path / "a.arrow", TALK, kind, batch, compression=packing)
    assert list(rows(path)) == list(enumerate(TALK, 1))
    assert page(path, 700, 3, tmp_path / "cache") == list(enumerate(TALK, 1))[700:703]
    assert count(path, tmp_path / "cache") == 900
    assert not (tmp_path / "cache").exists()


def test_a_cut_file_is_told_and_the_rows_before_come_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", TALK, "stream", 100)
    path.write_bytes(path.read_bytes()[:-3000])
    read = []
    with pytest.raises(DatasetError, match=r"is damaged after row \d00: .*Fetch it again"):
        for _, row in rows(path):
            read.append(row)
    assert read == TALK[: len(read)] and len(read) >= 300
    whole = write(tmp_path / "b.arrow", TALK, "file")
    whole.write_bytes(whole.read_bytes()[:-30])
    assert "is damaged after row 0" in refused(whole)


@pytest.mark.parametrize("content", [b'{"a": 1}', b"ARROW1", b"PAR1" * 9])
def test_what_is_no_arrow_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.arrow"
    path.write_bytes(content)
    assert "must start as an Arrow file or stream does" in refused(path)


def test_an_empty_file_and_one_without_rows_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.arrow"
    path.touch()
    assert "is empty (0 bytes)" in refused(path)
    schema = pa.schema({"text": pa.string()})
    with pa.ipc.new_file(path, schema):
        pass
    assert "holds no rows" in refused(path)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    column = pa.array(["x"])
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("text", pa.string())] * 2)) as out:
        out.write_batch(pa.record_batch([column, column], names=["text", "text"]))
    assert "two columns are named 'text'" in refused(tmp_path / "a.arrow")


@pytest.mark.parametrize("kind", ["a.arrow", "a.parquet"])
def test_a_text_that_is_not_utf_8_refuses_its_row_only(tmp_path: Path, kind: str) -> None:
    wrong = pa.array([b"good", b"\xff\xfe", b"fine"]).view(pa.string())
    table = pa.table({"text": wrong})
    path = tmp_path / kind
    if path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
    else:
        pq.write_table(table, path)
    first, second, third = [row for _, row in rows(path)]
    assert (first, third) == ({"text": "good"}, {"text": "fine"})
    assert isinstance(second, RowError) and "it cannot be read" in str(second) and "row 2" in str(second)


def test_a_row_above_the_limit_is_refused_in_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", [{"text": "a"}, {"text": "x" * 9_000_000}, {"text": "b"}], "file")
    first, second, third = [row for _, row in rows(path)]
    assert (first, third) == ({"text": "a"}, {"text": "b"})
    assert isinstance(second, RowError) and "row 2 is 9 MB" in str(second)


def tool(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [*properties]}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def called(name: str, **arguments: Any) -> list[dict[str, Any]]:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "done"},
    ]


CALLS = [
    {"messages": called("weather", city="Oslo"), "tools": [tool("weather", city={"type": "string"})]},
    {"messages": called("add", a=1, b={"value": 2}), "tools": [tool("add", a={"type": "number", "minimum": 0})]},
    {"messages": called("now"), "tools": None},
]


@pytest.mark.parametrize("kind", ["file", "stream", "parquet"])
def test_an_object_has_none_of_the_keys_that_only_those_of_other_rows_have(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        path = tmp_path / "a.parquet"
        pq.write_table(pa.Table.from_pylist(CALLS), path)
    else:
        path = write(tmp_path / "a.arrow", CALLS, kind)
    assert [row for _, row in rows(path)] == CALLS


def test_a_map_is_an_object_and_keeps_its_nulls(tmp_path: Path) -> None:
    arguments = pa.array([[("city", "Oslo"), ("unit", None)], None, []], pa.map_(pa.string(), pa.string()))
    twice = pa.array([[("a", 1)], [("a", 1), ("a", 2)], None], pa.map_(pa.string(), pa.int32()))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, "b"], "arguments": arguments}), path)
    assert [row for _, row in rows(path)] == [
        {"text": "a", "arguments": {"city": "Oslo", "unit": None}},
        {"text": None, "arguments": None},
        {"text": "b", "arguments": {}},
    ]
    pq.write_table(pa.table({"twice": twice}), path)
    (_, first), (number, second), (_, third) = rows(path)
    assert (first, number, third) == ({"twice": {"a": 1}}, 2, {"twice": None})
    assert isinstance(second, RowError) and "it cannot be read" in second.why
