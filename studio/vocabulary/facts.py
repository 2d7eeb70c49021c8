"""Quick looks before a work about vocabularies starts: sizes and counts, from headers and small files alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, DatasetError, ModelError
from studio.workspace import Workspace

# A list or a model of pieces up to this size is read while somebody fills the form; larger ones wait for the work.
READ_BYTES = 8 * 2**20
GIGABYTE = 1e9


def extend(asked: Any, place: Workspace) -> dict[str, Any]:
    """{"tokens", "rows", "free_rows", "exists"} of the model to extend; ArgumentError for a folder that exists, and
    for rows and lists that are not there or cannot be read.

    Of a model that is not here yet, or without tokenizer.json, only "exists" is known.
    """
    from studio.model.find import find_model
    from studio.model.tokenizer import open_tokenizer
    from studio.model.weights import tensors

    free = _free_folder(asked.folder, place)
    _must_read(asked, place)
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
    """{"datasets", "exists"}: how many are read. Raises ArgumentError for a folder that exists, or unknown rows."""
    _must_have_rows(asked.source, place)
    return {"datasets": len(asked.source.dataset) + len(asked.source.train_file), **_free_folder(asked.folder, place)}


def inspect(asked: Any, place: Workspace) -> dict[str, Any]:
    """{"tokens"} of the vocabulary to look at. Raises ArgumentError for unknown rows, ModelError for no vocabulary."""
    from studio.model.find import find_model
    from studio.model.tokenizer import open_tokenizer

    _must_have_rows(asked.source, place)
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
    {name: parameters of its layers}, "exists"}. Raises ArgumentError with what does not fit, on the disk too.
    """
    from studio.model.tokenizer import open_tokenizer
    from studio.model.tokenizer_files import SOURCES, TOKENIZER_FILE
    from studio.vocabulary.shapes import SIZES, shape_of, told

    free, shape = _free_folder(asked.folder, place), shape_of(asked.shape)
    named = asked.shape.tokenizer_name_or_path
    if not (folder := place.path(named)).is_dir():
        raise ArgumentError([f"--tokenizer_name_or_path {named}: must be a folder; there is none at {folder}."])
    if not _is_light(folder):
        if not any((folder / name).is_file() for name in SOURCES):
            raise ArgumentError([
                f"--tokenizer_name_or_path {named}: must hold a tokenizer; it has none of "
                f"{', '.join((TOKENIZER_FILE, *SOURCES))}. Name a folder that studio tokenizer train made."
            ])  # fmt: skip
        return free
    size = open_tokenizer(folder, place.cache).size
    kind, multiple = asked.shape.model_shape, asked.shape.pad_to_multiple_of
    rows = -(-size // multiple) * multiple
    count, layers = shape.parameters(kind, rows, tied=asked.shape.tie_word_embeddings), shape.layers(kind)
    _must_fit(count * 4, place.target(asked.folder.output_dir))
    return {
        "tokens": size, "rows": rows, "shape": vars(shape), "told": told(count),
        "parameters": {"all": count, "layers": layers, "embeddings": count - layers},
        "bytes": count * (4 if asked.shape.weights_dtype == "float32" else 2),
        "sizes": {name: each.layers(kind) for name, each in SIZES.items()}, **free,
    }  # fmt: skip


def _must_fit(nbytes: int, target: Path) -> None:
    """Raise ArgumentError where the disk of `target` has no room for so many bytes."""
    there = next(folder for folder in target.resolve().parents if folder.exists())
    if nbytes > (free := shutil.disk_usage(there).free):
        raise ArgumentError([
            f"the model needs {nbytes / GIGABYTE:,.2f} GB, and the disk of {there} has {free / GIGABYTE:,.2f} GB free. "
            "Choose a smaller --model_size or shape, or free some space."
        ])  # fmt: skip


def _must_have_rows(source: Any, place: Workspace) -> None:
    """Raise ArgumentError for datasets that are not registered and files that are not there."""
    from studio.data.catalog import read_catalog, written
    from studio.data.entry import entry_of

    catalog = read_catalog(place, source.dataset_dir)
    for name in source.dataset:
        _said("dataset", partial(catalog.__getitem__, name))
    for path in source.train_file:
        entry = entry_of(Path(path).name or path, written(path, ""), place.path(path), place.root)
        _said(f"train_file {path}", entry.files)


def _must_read(asked: Any, place: Workspace) -> None:
    """Raise ArgumentError where the rows, the pieces or the lists of an extension are not there or no such thing."""
    from studio.vocabulary import pieces, special

    _must_have_rows(asked.source, place)
    extend = asked.extend
    for name, read in (("sentencepiece_model", pieces.pieces_of), ("add_tokens_file", pieces.listed),
                       ("special_tokens_map", special.read_map)):  # fmt: skip
        path = place.path(getattr(extend, name)) if getattr(extend, name) else None
        if path is not None and not (path.is_file() and path.stat().st_size > READ_BYTES):
            _said(name, partial(read, path))


def _said(name: str, look: Callable[[], object]) -> None:
    """Look; what is wrong is said of the argument `name`."""
    try:
        look()
    except (DatasetError, ModelError) as error:
        raise ArgumentError([f"--{name}: {str(error).removeprefix(f'--{name} ')}"]) from None


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
