"""The model named by --ref_model: what must hold before the start, and how it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from studio.arguments.preference import ReferenceArguments
from studio.errors import ModelError, StudioError
from studio.model.adapter import must_take, open_adapter
from studio.model.changed import changes_of
from studio.model.classifier import must_write
from studio.model.code import check_code
from studio.model.find import find_adapters, find_model
from studio.model.load import check_type, load_model, read_config
from studio.model.tokenizer import open_tokenizer

if TYPE_CHECKING:
    from studio.loop.parts import Parts
    from studio.material import Material
    from studio.model.tokenizer import LightTokenizer
    from studio.recipe import Recipe
    from studio.workspace import Workspace


def complaints(recipe: Recipe, material: Material, place: Workspace) -> list[str]:
    """What is wrong with the named reference, found without loading its weights."""
    own = cast(ReferenceArguments, recipe.own)
    if not own.ref_model:
        return []
    try:
        folder, _ = find(recipe, place)
        check_type(folder, read_config(folder))
        check_tokens(folder, own.ref_model, material.tokenizer, place)
    except StudioError as error:
        return [f"--ref_model {own.ref_model}: {error}"]
    return []


def check_tokens(folder: Path, shown: str, tokenizer: LightTokenizer, place: Workspace) -> None:
    """Raise ModelError unless the reference gives every token of the run the same id and has an embedding for it."""
    size = read_config(folder).get("vocab_size")
    if size is not None and int(size) < tokenizer.size:
        raise ModelError(
            f"the reference must have an embedding for each of the {tokenizer.size:,} tokens of the model that learns; "
            f"it has {int(size):,}. Name a model of the same family."
        )
    if not any(folder.glob("tokenizer*")):
        return
    theirs, ours = open_tokenizer(folder, place.cache).fast.get_vocab(), tokenizer.fast.get_vocab()
    moved = sum(theirs.get(token) != number for token, number in ours.items())
    if moved:
        raise ModelError(
            f"the reference must have the same tokens as the model that learns; {moved:,} of {len(ours):,} have "
            f"another id in {shown}, so the two would read different texts. Name a model of the same family."
        )


def load_reference(parts: Parts) -> Any:
    """The reference with its adapters, its documents kept apart as those of the model that learns.

    Raises ModelError when it cannot read the same batches.
    """
    import torch

    from studio.loop.attention import choose_attention

    recipe, own = parts.recipe, cast(ReferenceArguments, parts.recipe.own)
    folder, adapters = find(recipe, parts.place)
    rounded = recipe.model.model_copy(update={"quantization_bit": own.ref_model_quantization_bit})
    settings = parts.settings
    dtype = torch.bfloat16 if settings.bf16 else torch.float16 if settings.fp16 else torch.float32
    model = load_model(folder, rounded, dtype, device=settings.device, changes=changes_of(adapters))
    name, _ = choose_attention(model, recipe.model.flash_attn)
    if name == "padded" and parts.pad_id is None:
        raise ModelError(
            f"--ref_model {own.ref_model}: lets documents that share a row see each other, and the model that learns "
            "reads them so. Name a reference of the same kind of model."
        )
    return _with_adapters(model, adapters)


def _with_adapters(model: Any, adapters: list[Path]) -> Any:
    from peft import PeftModel

    for place, folder in enumerate(adapters, start=1):
        must_take(model, open_adapter(folder))
        try:
            model = PeftModel.from_pretrained(model, folder)
        except (ValueError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"--ref_model_adapters {folder}: must fit --ref_model; it does not: {reason}") from error
        if place < len(adapters):
            model = model.merge_and_unload()
    return model


def find(recipe: Recipe, place: Workspace) -> tuple[Path, list[Path]]:
    """Folders of the named reference and of its adapters, looked at but not loaded. Raises ModelError."""
    own, named = cast(ReferenceArguments, recipe.own), recipe.model
    folder = find_model(own.ref_model, place, revision=named.model_revision, cache_dir=named.cache_dir)
    if not (folder / "config.json").is_file():
        raise ModelError("is an adapter, not a model. Name its base, and the adapter with --ref_model_adapters.")
    adapters = find_adapters(own.ref_model_adapters, place, cache_dir=named.cache_dir)
    for adapter in adapters:
        open_adapter(adapter)
    for each in (folder, *adapters):
        must_write(each, "a reference")
        check_code(each, trust=named.trust_remote_code)
    return folder, adapters
