"""The work of the child that converts pickled weights: what is written under which name, and the folder around it."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from studio.errors import ModelError
from studio.model import meta
from studio.model.asking import refuse_full_disk
from studio.model.companions import copy_tokenizer, write_companions
from studio.model.load import read_config
from studio.model.pickled import ADAPTER, files_of, open_pickle
from studio.model.shards import DTYPES, Space, write
from studio.model.staging import refuse_existing, staged
from studio.model.weights import ADAPTER as ADAPTER_WEIGHTS
from studio.model.weights import SINGLE as SINGLE_WEIGHTS
from studio.model.weights import tensors, tensors_in
from studio.workspace import write_json

RECORD = "conversion.json"
NAMES = {dtype: name for name, dtype in DTYPES.items()}
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SMALL_FILES_BYTES = 64 << 20


class Source(Protocol):
    """Pickled weights under the names they are written with."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype]

    def read(self, name: str) -> torch.Tensor:
        """The values of one tensor."""


class Pickles:
    """The tensors of pickled files by name; one file is open at a time."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self.folder = folder
        self.opened = ""
        self.content: dict[str, torch.Tensor] = {}
        self.file_of: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self.shared: list[set[str]] = []
        for file in files:
            self._survey(file)

    def read(self, name: str) -> torch.Tensor:
        """The values of one tensor."""
        return self._open(self.file_of[name])[name]

    def _survey(self, file: str) -> None:
        places: dict[tuple[Any, ...], set[str]] = {}
        for name, values in self._open(file).items():
            if name in self.file_of:
                raise ModelError(f"{self.folder} holds {name} in {self.file_of[name]} and in {file}. Get it anew.")
            self.file_of[name], self.shapes[name], self.dtypes[name] = file, tuple(values.shape), values.dtype
            place = (values.untyped_storage().data_ptr(), values.storage_offset(), values.shape, values.stride())
            places.setdefault(place, set()).add(name)
        self.shared += [names for names in places.values() if len(names) > 1]

    def _open(self, file: str) -> dict[str, torch.Tensor]:
        if self.opened != file:
            self.content = {}
            self.content, self.opened = open_pickle(self.folder / file), file
        return self.content


class MetaPickles:
    """The same of a folder in Meta's form: slices put together, under transformers' names. All files are open."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        self.params = meta.Params(folder)
        self.parts = [open_pickle(folder / file) for file in files]
        self.old: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        for name, values in self.parts[0].items():
            if not (new := meta.new_name(name)):
                continue
            if any(name not in part for part in self.parts):
                raise ModelError(f"{name} must be in each consolidated file of {folder}; it is not. Get them anew.")
            slices = [part[name].to("meta") for part in self.parts]
            self.old[new], self.dtypes[new] = name, values.dtype
            self.shapes[new] = tuple(meta.whole(name, slices, self.params).shape)
        layers = (f"model.layers.{number}.mlp.gate_proj.weight" for number in range(self.params.layers))
        wanted = itertools.chain(["model.embed_tokens.weight"], layers)
        if missing := next((name for name in wanted if name not in self.shapes), ""):
            raise ModelError(f"{folder} must hold all {self.params.layers} layers; {missing} is not there.")

    def read(self, name: str) -> torch.Tensor:
        """The values of one tensor."""
        old = self.old[name]
        return meta.whole(old, [part[old] for part in self.parts], self.params)


def untied(names: Iterable[str], shared: Iterable[set[str]], tied: set[tuple[str, str]]) -> list[str]:
    """The names to write: all but those that share their values with the one the model takes them from."""
    dropped = {name for group in shared for name, source in tied if {name, source} <= group}
    return [name for name in names if name not in dropped]


def tied_in(folder: Path) -> set[tuple[str, str]]:
    """Which weight the model takes from which other, as transformers knows it; empty for one it does not know."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, ImportError):
        return set()
    prefix = f"{model.base_model_prefix}."
    tied = dict(model.all_tied_weights_keys)
    # Older files name the weights of the bare model.
    bare = {(name.removeprefix(prefix), source.removeprefix(prefix)) for name, source in tied.items()}
    return {*tied.items(), *bare}


def run(source: Path, target: Path, *, shard_bytes: float, dtype: str, replace: bool) -> None:
    """Convert the folder `source` into `target`, which appears whole.

    `dtype` is auto or what floating-point weights are written as. Raises ModelError, DiskFullError, and
    StudioError for a target that stands already.
    """
    refuse_existing(target, replace=replace)
    files = files_of(source)
    kind: Literal["model", "adapter", "meta"] = "model"
    kind = "adapter" if files == [ADAPTER] else "meta" if files[0].startswith("consolidated.") else "model"
    opened: Source = MetaPickles(source, files) if kind == "meta" else Pickles(source, files)
    names = list(opened.shapes)
    if isinstance(opened, Pickles) and kind == "model" and opened.shared:
        names = untied(names, opened.shared, tied_in(source))
    spaces = [_space(name, opened, dtype) for name in names]
    nbytes = sum(space.nbytes for space in spaces)
    refuse_full_disk(target, nbytes + SMALL_FILES_BYTES, "the converted model")
    with staged(target, replace=replace) as folder:
        write(folder, spaces, float("inf") if kind == "adapter" else shard_bytes, _Computed(opened, nbytes))
        notes = _beside(folder, source, opened, kind, dtype)
        _check(folder, spaces, kind)
        record = {"source": str(source), "files": files, "tensors": len(spaces), "bytes": nbytes, "dtype": dtype}
        write_json(folder / RECORD, {**record, "left_out": [name for name in opened.shapes if name not in names]})
    for note in notes:
        sys.stderr.write(note + "\n")
    sys.stderr.write(f"converted {len(spaces):,} tensors, {nbytes / 1e9:.2f} GB, of {', '.join(files[:3])}\n")


def _space(name: str, opened: Source, dtype: str) -> Space:
    found = opened.dtypes[name]
    kept = getattr(torch, dtype) if dtype != "auto" and found in FLOATS else found
    if kept not in NAMES:
        raise ModelError(f"{name} is of the type {found}, which safetensors does not keep. Save it as another first.")
    return Space(name, NAMES[kept], opened.shapes[name])


class _Computed:
    """Gives each tensor when its turn comes, and tells the parent process how far it is, in whole percents."""

    def __init__(self, opened: Source, nbytes: int) -> None:
        self.opened, self.nbytes, self.done, self.shown = opened, nbytes, 0, -1

    def __call__(self, space: Space) -> torch.Tensor:
        values = self.opened.read(space.name)
        cast = values.to(DTYPES[space.dtype])
        if cast.dtype != values.dtype and not bool(torch.isfinite(cast).all()):
            raise ModelError(f"{space.name} does not fit {space.dtype}. Leave out --infer_dtype, or take bfloat16.")
        self.done += space.nbytes
        percent = 100 * self.done // max(self.nbytes, 1)
        if percent != self.shown:
            self.shown = percent
            sys.stdout.write(f"{self.done} {self.nbytes}\n")
            sys.stdout.flush()
        return cast


def _beside(folder: Path, source: Path, opened: Source, kind: str, dtype: str) -> list[str]:
    """Config, tokenizer and the other small files; gives notes for the user."""
    if kind == "adapter":
        (folder / SINGLE_WEIGHTS).rename(folder / ADAPTER_WEIGHTS)
        (folder / "adapter_config.json").write_bytes((source / "adapter_config.json").read_bytes())
        copy_tokenizer(source, folder)
        return []
    notes: list[str] = []
    if isinstance(opened, MetaPickles):
        main = str(opened.dtypes["model.embed_tokens.weight"]).removeprefix("torch.")
        config, notes = meta.config(opened.params, opened.shapes, main if dtype == "auto" else dtype)
        tokenizer, more = meta.tokenizer_config(source)
        notes += more
        if tokenizer is not None:
            write_json(folder / "tokenizer_config.json", tokenizer)
        if more:
            write_json(folder / "config.json", config)
            return notes
    else:
        config = read_config(source)
        if dtype != "auto":
            config = {key: value for key, value in config.items() if key != "torch_dtype"} | {"dtype": dtype}
    return [*notes, *write_companions(folder, source, [], config, "")]


def _check(folder: Path, spaces: Sequence[Space], kind: str) -> None:
    """Read the headers back once more, through the index, as every reader of the folder will."""
    found = tensors_in(folder / ADAPTER_WEIGHTS) if kind == "adapter" else tensors(folder)
    if {tensor.name: (tensor.dtype, tensor.shape) for tensor in found.values()} != {
        space.name: (space.dtype, space.shape) for space in spaces
    }:
        raise ModelError(f"what was written to {folder} reads back other than it was meant. Check the disk.")
