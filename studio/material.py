"""What a run is made of before any weight is loaded: model folder, tokenizer, template, rows."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from studio.arguments.method import MethodArguments
from studio.data.asked import mix_of, sources_of
from studio.data.beginning import Beginning, sample_texts, streamed
from studio.data.catalog import DatasetEntry, entry_of_file, read_catalog
from studio.data.mixing import Share, mixed, shares_in
from studio.data.render import View
from studio.data.report import Report
from studio.data.rows import Rows, prepare, split
from studio.errors import ModelError
from studio.model.adapter import open_adapter
from studio.model.changed import changed, changes_of, vocabulary_for, with_new_rows
from studio.model.classifier import must_write
from studio.model.code import check_code
from studio.model.find import find_adapters, find_model
from studio.model.hardware import cores
from studio.model.load import check_type, read_config
from studio.model.positions import stretched
from studio.model.templates import Template, choose_template
from studio.model.token_rows import learning_rows
from studio.model.tokenizer import LightTokenizer, check_against_transformers, open_tokenizer
from studio.model.weights import Tensor, tensors
from studio.recipe import Recipe
from studio.workspace import Workspace


@dataclass(frozen=True)
class Material:
    """All that a run reads. `held_out_rows` is None when nothing is evaluated."""

    folder: Path
    adapters: tuple[Path, ...]
    config: dict[str, Any]
    weights: dict[str, Tensor]
    tokenizer: LightTokenizer
    template: Template | None
    rows: Rows
    report: Report
    held_out_rows: Rows | None
    held_out_report: Report | None
    notes: tuple[str, ...]
    # What the run makes of the base's config before it learns, with what its adapters had made of it; `config` has it.
    changes: dict[str, Any] = field(default_factory=dict)
    # Whether the run itself adds rows to the embeddings.
    grows: bool = False
    # Ids whose rows of the embeddings learn alone, as ranges.
    token_rows: tuple[str, ...] = ()
    # What one epoch has of each dataset, and the hash of the file that says so.
    shares: tuple[Share, ...] = ()
    policy: Mapping[str, str] = field(default_factory=dict)
    # Where rows are read while training: then `rows` and `report` are those of the first ones.
    stream: Beginning | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every data file, by path."""
        held_out = self.held_out_report.hashes if self.held_out_report else {}
        return {**self.report.hashes, **held_out, **self.policy}


def gather(recipe: Recipe, place: Workspace, view: View, say: Callable[[str], None]) -> Material:
    """Find and open everything, render the rows, and split off those to evaluate on.

    Raises StudioError children, each with what is wrong and what to do.
    """
    notes: list[str] = []
    folder, adapters = find_weights(recipe, place)
    found = tensors(folder)
    tokenizer, template, told = tokenizer_of(recipe, folder, place)
    notes += told
    config, changes, grows, told = _base(recipe, folder, adapters, tokenizer)
    notes += [*told, *_foreign_tokenizer(tokenizer, folder, place)]
    token_rows = learning_rows(recipe.method.trainable_token_indices, folder, vocabulary_of(config))
    train, held_out, told = find_entries(recipe, place)
    workers, lowered = _workers(recipe.data.preprocessing_num_workers)
    notes += [*told, *lowered]

    def rows_of(entries: Sequence[DatasetEntry], limit: int | None) -> tuple[Rows, Report]:
        rows, report = prepare(
            entries, tokenizer, template, view, place,
            max_samples=limit,
            skip_bad_rows=recipe.data.skip_bad_rows,
            max_bad_rows=recipe.data.max_bad_rows,
            workers=workers,
            overwrite_cache=recipe.data.overwrite_cache,
            progress=_counter if sys.stderr.isatty() else None,
        )  # fmt: skip
        for sentence in report.sentences():
            say(sentence)
        return rows, report

    most = recipe.data.max_samples
    most_to_evaluate = recipe.data.max_eval_samples or most
    stream = None
    if recipe.data.streaming:
        stream, rows, report, policy, told = streamed(recipe, train, tokenizer, template, view, place)
        notes += told
    else:
        rows, report = rows_of(train, most) if train else rows_of(held_out, most_to_evaluate)
    held_rows, held_report = rows_of(held_out, most_to_evaluate) if held_out else (None, None)
    if recipe.data.val_size:
        most = recipe.data.max_eval_samples
        rows, held_rows, told = split(rows, recipe.data.val_size, recipe.training.seed, most=most)
        notes += told
    shares: tuple[Share, ...] = ()
    if stream is None:
        rows, shares, policy, told = _mixed(recipe, rows, train, view, place)
        notes += told
    texts = sample_texts((train or held_out)[0], tokenizer, template, view, place)
    check_against_transformers(tokenizer, texts, documents=view.documents)
    check_type(folder, config)
    return Material(
        folder, adapters, config, found, tokenizer, template,
        rows, report, held_rows, held_report, tuple(notes), changes, grows, token_rows, shares, policy, stream,
    )  # fmt: skip


def _mixed(
    recipe: Recipe, rows: Rows, train: Sequence[DatasetEntry], view: View, place: Workspace
) -> tuple[Rows, tuple[Share, ...], dict[str, str], list[str]]:
    """The rows of one epoch, what it has of each dataset, the hash of a file of shares, and what to tell."""
    if not train:
        return rows, (), {}, []
    mix, policy, notes = mix_of(recipe.data, train, place)
    learned = mixed(rows, mix, recipe.training.seed, None if view.documents else view.together)
    return learned, tuple(shares_in(rows, learned, mix)), policy, notes


def _base(
    recipe: Recipe, folder: Path, adapters: Sequence[Path], tokenizer: LightTokenizer
) -> tuple[dict[str, Any], dict[str, Any], bool, list[str]]:
    """The base's config as the run makes it, all changes in it, whether the run adds embeddings, and what to tell."""
    asked, notes = recipe.model, []
    changes = changes_of(adapters)
    config = changed(read_config(folder), changes)
    size, grows = vocabulary_of(config), False
    if asked.resize_vocab and size and tokenizer.size > size:
        rows = vocabulary_for(tokenizer.size)
        grows, changes = True, changes | {"vocab_size": rows}
        notes.append(f"resize_vocab: {rows:,} embeddings instead of {size:,}, for {tokenizer.size:,} tokens; all learn")
    elif asked.resize_vocab:
        notes.append(f"resize_vocab: nothing to do, the model has embeddings for all {tokenizer.size:,} tokens")
    if asked.rope_scaling:
        longer, told = stretched(asked, folder, config, recipe.data.cutoff_len)
        changes = changes | longer
        notes.append(told)
    config = changed(config, changes)
    check_sizes(tokenizer, config, folder)
    return config, changes, grows, notes


def method_of(recipe: Recipe, material: Material) -> MethodArguments:
    """The method as asked: rows of new tokens by their ids, and all embeddings where the run itself adds rows."""
    if not material.grows:
        return recipe.method.model_copy(update={"trainable_token_indices": material.token_rows})
    return with_new_rows(recipe.method, material.weights, material.config)


def _counter(what: str, done: int, _total: int | None) -> None:
    """A line on the terminal that counts rows as they are rendered, and is wiped at the end."""
    sys.stderr.write(f"\r\033[K{what}: {done:,} rows\r")
    sys.stderr.flush()


def find_entries(recipe: Recipe, place: Workspace) -> tuple[list[DatasetEntry], list[DatasetEntry], list[str]]:
    """The datasets and files to train on and those to evaluate on, and what to tell about them."""
    data = recipe.data
    catalog = read_catalog(place, data.dataset_dir)
    train = sources_of(data, catalog, place)
    held_out = [
        *(catalog[name] for name in data.eval_dataset),
        *(entry_of_file(path, place) for path in data.validation_file),
    ]
    twice = [
        f"--{flag} {name}: stands {count} times, so its rows are seen {count} times in each epoch"
        for flag, names in (("dataset", data.dataset), ("train_file", data.train_file))
        for name, count in Counter(names).items()
        if count > 1
    ]
    notes = [note for entry in (*train, *held_out) for note in (*entry.found().notes, entry.why) if note]
    return apart(train), apart(held_out), [*catalog.notes, *twice, *dict.fromkeys(notes)]


def apart(entries: Sequence[DatasetEntry]) -> list[DatasetEntry]:
    """The same entries, files of one name called by their path: what is told must say which one it is."""
    many = Counter(entry.name for entry in {(entry.name, entry.origin): entry for entry in entries}.values())
    return [
        entry.model_copy(update={"name": str(entry.origin)}) if entry.why and many[entry.name] > 1 else entry
        for entry in entries
    ]


def find_weights(recipe: Recipe, place: Workspace) -> tuple[Path, tuple[Path, ...]]:
    """The folder of the base model, and those of the adapters to start from."""
    arguments = recipe.model
    folder = find_model(
        arguments.model_name_or_path, place, revision=arguments.model_revision, cache_dir=arguments.cache_dir
    )
    if not (folder / "config.json").is_file():
        base = open_adapter(folder).config.get("base_model_name_or_path", "its base")
        raise ModelError(
            f"{arguments.model_name_or_path!r} is an adapter, not a model. Write --model_name_or_path {base} "
            f"--adapter_name_or_path {arguments.model_name_or_path}."
        )
    adapters = tuple(find_adapters(arguments.adapter_name_or_path, place, cache_dir=arguments.cache_dir))
    for adapter in adapters:
        open_adapter(adapter)
    for each in (folder, *adapters):
        check_code(each, trust=arguments.trust_remote_code)
        if recipe.way.head == "tokens":
            must_write(each, f"--stage {recipe.stage}")
    return folder, adapters


def tokenizer_of(
    recipe: Recipe, folder: Path, place: Workspace, *, opened: LightTokenizer | None = None
) -> tuple[LightTokenizer, Template, list[str]]:
    """The tokenizer and the chat template that a recipe names, and what to tell about them.

    `opened` is that tokenizer where somebody has it open already.
    """
    asked = recipe.model.tokenizer_name_or_path
    home = find_tokenizer(asked, place) if asked else folder
    check_code(home, trust=recipe.model.trust_remote_code)
    tokenizer = opened or open_tokenizer(home, place.cache, trust=recipe.model.trust_remote_code)
    template = recipe.template
    chosen = choose_template(
        template.template,
        tokenizer,
        place,
        enable_thinking=template.enable_thinking,
        default_system=template.default_system,
    )
    return tokenizer, *chosen


def _foreign_tokenizer(tokenizer: LightTokenizer, folder: Path, place: Workspace) -> list[str]:
    """A warning when the ids of another tokenizer mean other tokens than those the model learned."""
    if tokenizer.folder == folder or not any(folder.glob("tokenizer*")):
        return []
    own, other = open_tokenizer(folder, place.cache).fast.get_vocab(), tokenizer.fast.get_vocab()
    moved = sum(own.get(token) != number for token, number in other.items())
    if not moved:
        return []
    return [
        f"warning: {moved:,} of the {len(other):,} tokens in {place.shown(tokenizer.folder)} have another id than in "
        "the model's own tokenizer, so the model must learn them anew"
    ]


def find_tokenizer(asked: str, place: Workspace) -> Path:
    """The folder of a tokenizer that was asked for by its path."""
    folder = place.path(asked)
    if not folder.is_dir():
        raise ModelError(f"--tokenizer_name_or_path {asked}: must be a folder; there is none at {folder}.")
    return folder


def check_sizes(tokenizer: LightTokenizer, config: dict[str, Any], folder: Path) -> None:
    """Refuse a tokenizer with more tokens than the model has embeddings."""
    size = vocabulary_of(config)
    if size and tokenizer.size > size:
        raise ModelError(
            f"the tokenizer in {tokenizer.folder} has {tokenizer.size:,} tokens, but the model in {folder} has "
            f"embeddings for {size:,}. Use the model's own tokenizer, or train with --resize_vocab True, which adds "
            "the missing embeddings and lets them learn."
        )


def vocabulary_of(config: Mapping[str, Any]) -> int:
    """How many embeddings a config.json names; 0 when it names none."""
    return int(config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size") or 0)


def _workers(asked: int | None) -> tuple[int | None, list[str]]:
    if asked is None or asked <= cores():
        return asked, []
    note = f"--preprocessing_num_workers {asked} was lowered to {cores()}, the cores of this machine"
    return cores(), [note]


def parents(material: Material, place: Workspace) -> list[str]:
    """The folders this run's weights come from."""
    return [place.shown(path) for path in (material.folder, *material.adapters)]
