"""Quick looks before a work about vocabularies starts: sizes and counts, from headers and small files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studio.errors import ArgumentError
from studio.workspace import Workspace


def extend(asked: Any, place: Workspace) -> dict[str, Any]:
    """{"tokens", "rows", "free_rows", "exists"} of the model to extend; ArgumentError for a folder that exists.

    Of a model that is not here yet, or without tokenizer.json, only "exists" is known.
    """
    from studio.model.find import find_model
    from studio.model.tokenizer import open_tokenizer
    from studio.model.weights import tensors

    free = _free_folder(asked.folder, place)
    if not place.path(asked.extend.model_name_or_path).is_dir():
        # A hub is asked by the work itself, not while somebody types.
        return free
    base = find_model(asked.extend.model_name_or_path, place)
    if not _is_light(base):
        return free
    light = open_tokenizer(base, place.cache)
    ends = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
    found = {name: tensor for name, tensor in tensors(base).items() if name.endswith(ends)}
    rows = next((tensor.shape[0] for tensor in found.values()), 0)
    return {"tokens": light.size, "rows": rows, "free_rows": max(rows - light.size, 0), **free}


def train(asked: Any, place: Workspace) -> dict[str, Any]:
    """{"datasets", "exists"}: how many are read. Raises ArgumentError for a folder that exists."""
    return {"datasets": len(asked.source.dataset) + len(asked.source.train_file), **_free_folder(asked.folder, place)}


def inspect(asked: Any, place: Workspace) -> dict[str, Any]:
    """{"tokens"} of the vocabulary to look at. Raises ModelError when there is none."""
    from studio.model.find import find_model
    from studio.model.tokenizer import open_tokenizer

    path = place.path(asked.look.model_name_or_path)
    if not path.is_dir():
        return {}
    folder = path if _is_light(path) else find_model(asked.look.model_name_or_path, place)
    if not _is_light(folder):
        return {}
    return {"tokens": open_tokenizer(folder, place.cache).size}


def new_model(asked: Any, place: Workspace) -> dict[str, Any]:
    """The model before it is written.

    {"tokens", "rows", "shape": {…}, "parameters": {"all", "layers", "embeddings"}, "told": "8.8M", "bytes", "sizes":
    {name: parameters of its layers}, "exists"}. Raises ArgumentError and ModelError with what does not fit.
    """
    from studio.model.tokenizer import open_tokenizer
    from studio.vocabulary.shapes import SIZES, shape_of, told

    free, shape = _free_folder(asked.folder, place), shape_of(asked.shape)
    named = asked.shape.tokenizer_name_or_path
    if not (folder := place.path(named)).is_dir():
        raise ArgumentError([f"--tokenizer_name_or_path {named}: must be a folder; there is none at {folder}."])
    if not _is_light(folder):
        return free
    size = open_tokenizer(folder, place.cache).size
    kind, multiple = asked.shape.model_shape, asked.shape.pad_to_multiple_of
    rows = -(-size // multiple) * multiple
    count, layers = shape.parameters(kind, rows, tied=asked.shape.tie_word_embeddings), shape.layers(kind)
    return {
        "tokens": size, "rows": rows, "shape": vars(shape), "told": told(count),
        "parameters": {"all": count, "layers": layers, "embeddings": count - layers},
        "bytes": count * (4 if asked.shape.weights_dtype == "float32" else 2),
        "sizes": {name: each.layers(kind) for name, each in SIZES.items()}, **free,
    }  # fmt: skip


def _is_light(folder: Path) -> bool:
    """Whether its tokenizer opens at once; an older form is converted by transformers, which the page never loads."""
    return (folder / "tokenizer.json").is_file()


def _free_folder(folder: Any, place: Workspace) -> dict[str, Any]:
    target = place.target(folder.output_dir)
    if target.exists() and not folder.overwrite_output_dir:
        raise ArgumentError([
            f"--output_dir {folder.output_dir}: must be a new folder; it exists already. Choose another name, or set "
            "--overwrite_output_dir True to move the old one aside."
        ])  # fmt: skip
    return {"exists": target.exists()}
