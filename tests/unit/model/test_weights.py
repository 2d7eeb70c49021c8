import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from studio.errors import ModelError
from studio.model.weights import INDEX, SINGLE, main_dtype, tensors, tensors_in


def single(folder: Path) -> Path:
    weights = {"a": np.ones((2, 3), dtype="float32"), "b": np.zeros(4, dtype="float16")}
    save_file(weights, folder / SINGLE)
    return folder / SINGLE


def sharded(folder: Path) -> dict[str, str]:
    where = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    for name, file in where.items():
        save_file({name: np.ones((2, 2), dtype="float32")}, folder / file)
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    return where


def test_names_shapes_and_sizes_are_read_from_the_header(tmp_path: Path) -> None:
    file = single(tmp_path)
    found = tensors(tmp_path)
    assert {name: (t.dtype, t.shape, t.nbytes, t.file) for name, t in found.items()} == {
        "a": ("F32", (2, 3), 24, file),
        "b": ("F16", (4,), 8, file),
    }
    assert sum(tensor.nbytes for tensor in found.values()) == 32
    assert main_dtype(found.values()) == "F32"
    assert found["a"].start + 24 <= file.stat().st_size


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    where = sharded(tmp_path)
    assert {name: tensor.file.name for name, tensor in tensors(tmp_path).items()} == where


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    where = sharded(tmp_path)
    (tmp_path / where["b"]).unlink()
    with pytest.raises(ModelError, match=f"names the shard {where['b']}, which is not in"):
        tensors(tmp_path)


def test_a_tensor_that_is_not_in_the_shard_its_index_names_is_told(tmp_path: Path) -> None:
    where = sharded(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": where | {"c": where["a"]}}))
    with pytest.raises(ModelError, match=r"says that .* holds c, but it does not"):
        tensors(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', "{}", "[" * 100_000])
def test_an_index_that_is_no_map_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(ModelError, match="must be JSON with a weight_map"):
        tensors(tmp_path)


def test_an_index_may_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(ModelError, match="files of its own folder"):
        tensors(tmp_path)


def test_a_file_cut_short_tells_by_how_much(tmp_path: Path) -> None:
    file = single(tmp_path)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(ModelError, match="cut short: 5 bytes are missing"):
        tensors(tmp_path)


def test_a_file_with_something_behind_its_tensors_is_refused(tmp_path: Path) -> None:
    file = single(tmp_path)
    file.write_bytes(file.read_bytes() + b"more")
    with pytest.raises(ModelError, match="holds 4 more"):
        tensors(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"abc", "its start is not one's"),
        (b"\xff" * 64, "its start is not one's"),
        ((1000).to_bytes(8, "little") + b"{}", "cut short within its header: 998 bytes"),
        ((4).to_bytes(8, "little") + b"nope", "JSON header; it does not parse"),
        ((2).to_bytes(8, "little") + b"[]", "JSON header"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "JSON header"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer"),
    ],
)
def test_a_file_that_is_no_safetensors_says_what_it_is(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / SINGLE).write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        tensors(tmp_path)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"dtype": "F32", "shape": [2]}, "must give dtype, shape and place"),
        ({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}, "no known dtype"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "does not fit F32 of shape"),
        ({"dtype": "F32", "shape": [-2], "data_offsets": [0, -8]}, "does not fit"),
        ({"dtype": "F32", "shape": [float("inf")], "data_offsets": [0, 8]}, "must give dtype, shape and place"),
        ({"dtype": "F4", "shape": [10**400], "data_offsets": [0, 8]}, "must give dtype, shape and place"),
    ],
)
def test_nonsense_in_a_header_is_told_by_tensor(entry: object, sentence: str, tmp_path: Path) -> None:
    text = json.dumps({"a": entry}).encode()
    path = tmp_path / SINGLE
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ModelError, match=sentence):
        tensors_in(path)


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"must be safetensors; .*convert these once"):
        tensors(tmp_path)


def test_a_folder_without_weights_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it holds neither"):
        tensors(tmp_path)
    save_file({"a": np.ones(1, dtype="float32")}, tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ModelError, match="but neither"):
        tensors(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x")
    with pytest.raises(ModelError, match="an adapter and no model"):
        tensors(tmp_path)
    with pytest.raises(ModelError, match="must be a folder"):
        tensors(tmp_path / "gone")
