"""studio tokenizer new-model: config, tokenizer and random weights as a model folder."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from studio.errors import ArgumentError, ModelError
from studio.model.companions import copy_tokenizer
from studio.model.load import keep_upstream_quiet, read_config
from studio.model.modelfile import modelfile
from studio.model.staging import in_the_way, staged
from studio.model.tokenizer import LightTokenizer, check_against_transformers, open_tokenizer
from studio.model.tokenizer_files import TOKENIZER_FILE
from studio.vocabulary import compare
from studio.vocabulary.extend import RECORD, already
from studio.vocabulary.rows import room_for
from studio.vocabulary.shapes import Shape, shape_of, told
from studio.works.base import Ear
from studio.workspace import Workspace, write_json, write_text

TOKENS_A_TEXT = 100
CLASSES = {"llama": "LlamaConfig", "qwen2": "Qwen2Config", "qwen3": "Qwen3Config"}


def run(asked: Any, place: Workspace, ear: Ear) -> dict[str, Any]:
    """Write the folder of a new model; a plain result:

    folder, tokenizer     what was written, and with which tokenizer
    shape                 {"model_shape", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "intermediate_size", "head_dim", "tie_word_embeddings",
                          "max_position_embeddings", "dtype"}
    parameters            {"all", "layers", "embeddings"}
    tokens, rows          tokens of the vocabulary, rows of the embeddings
    bytes                 size of the weights
    chat_template         whether the tokenizer has one
    notes, seconds
    """
    started = time.monotonic()
    target = place.target(asked.folder.output_dir)
    if in_the_way(target, replace=asked.folder.overwrite_output_dir):
        raise ArgumentError([already(asked.folder.output_dir)])
    light = tokenizer_of(asked.shape.tokenizer_name_or_path, place)
    shape, notes = shape_of(asked.shape), list[str]()
    rows = -(-light.size // asked.shape.pad_to_multiple_of) * asked.shape.pad_to_multiple_of
    count = shape.parameters(asked.shape.model_shape, rows, tied=asked.shape.tie_word_embeddings)
    ear.say(f"{told(count)} parameters ({count:,}), {told(shape.layers(asked.shape.model_shape))} of them in layers")
    ear.tell(0, 2, "making weights")
    room = room_for(target, count * 4)
    with room, staged(target, replace=asked.folder.overwrite_output_dir) as folder:
        copy_tokenizer(light.files, folder)
        made = _write_weights(folder, asked.shape, shape, rows, light)
        ear.tell(1, 2, "checking")
        if made != count:
            raise ModelError(
                f"the model has {made:,} parameters, not the {count:,} that were told. Please report this."
            )
        _check(folder, place, asked.shape)
        config = read_config(folder)
        text, more = modelfile(folder, config)
        write_text(folder / "Modelfile", text)
        notes += more if light.chat_template else ["the tokenizer has no chat template: sft will need --template"]
        result = _result(asked, place, target, light, shape, rows, count, notes)
        _record(folder, result, light)
    ear.tell(2, 2, "done")
    return result | {"seconds": round(time.monotonic() - started, 2)}


def tokenizer_of(asked: str, place: Workspace) -> LightTokenizer:
    """The tokenizer in the folder asked for. Raises ArgumentError when there is no such folder, else ModelError."""
    folder = place.path(asked)
    if not folder.is_dir():
        raise ArgumentError([f"--tokenizer_name_or_path {asked}: must be a folder; there is none at {folder}."])
    return open_tokenizer(folder, place.cache)


def _write_weights(folder: Path, asked: Any, shape: Shape, rows: int, light: LightTokenizer) -> int:
    """Random weights and config.json by transformers; gives the number of parameters."""
    import torch
    import transformers

    keep_upstream_quiet()
    bos = light.fast.token_to_id(light.bos_token) if light.bos_token else None
    config: Any = getattr(transformers, CLASSES[asked.model_shape])(
        vocab_size=rows, hidden_size=shape.hidden_size, num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads, num_key_value_heads=shape.num_key_value_heads,
        intermediate_size=shape.intermediate_size, head_dim=shape.head_dim,
        max_position_embeddings=asked.max_position_embeddings, tie_word_embeddings=asked.tie_word_embeddings,
        initializer_range=asked.initializer_range, bos_token_id=bos, eos_token_id=light.eos_id,
        pad_token_id=light.pad_id, rope_parameters={"rope_type": "default", "rope_theta": asked.rope_theta},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(asked.seed)
        model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generation: Any = transformers.GenerationConfig
    model.generation_config = generation(bos_token_id=bos, eos_token_id=light.eos_id, pad_token_id=light.pad_id)
    count = sum(parameter.numel() for parameter in model.parameters())
    model.to(getattr(torch, asked.weights_dtype)).save_pretrained(folder)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)
    return int(count)


def _check(folder: Path, place: Workspace, asked: Any) -> None:
    """transformers must read the tokenizer beside this config to the same ids. Raises ModelError."""
    light = open_tokenizer(folder, place.cache)
    # What the rules before the merges split apart, the merges of this very vocabulary show.
    tokens = [light.fast.decode([number]) for number in range(light.size)]
    written = [" ".join(tokens[at : at + TOKENS_A_TEXT]) for at in range(0, len(tokens), TOKENS_A_TEXT)]
    try:
        check_against_transformers(light, [*compare.KEPT, *written])
    except ModelError as error:
        why = str(error).replace(str(folder), "the new model")
        raise ModelError(
            f"the tokenizer must fit --model_shape {asked.model_shape}: {why} A vocabulary trained with "
            "--pre_tokenizer qwen2 fits every shape; others fit --model_shape llama."
        ) from None


def _result(  # everything that is told
    asked: Any, place: Workspace, target: Path, light: LightTokenizer, shape: Shape, rows: int, count: int,
    notes: list[str],
) -> dict[str, Any]:  # fmt: skip
    layers = shape.layers(asked.shape.model_shape)
    return {
        "folder": place.shown(target), "tokenizer": place.shown(light.folder),
        "shape": {
            "model_shape": asked.shape.model_shape, **vars(shape),
            **{key: getattr(asked.shape, key) for key in ("tie_word_embeddings", "max_position_embeddings")},
            "dtype": asked.shape.weights_dtype,
        },
        "parameters": {"all": count, "layers": layers, "embeddings": count - layers},
        "tokens": light.size, "rows": rows, "bytes": count * (4 if asked.shape.weights_dtype == "float32" else 2),
        "chat_template": bool(light.chat_template), "notes": notes,
    }  # fmt: skip


def _record(folder: Path, result: dict[str, Any], light: LightTokenizer) -> None:
    digest = hashlib.sha256((folder / TOKENIZER_FILE).read_bytes()).hexdigest()
    record = {
        "schema": 1, "base": "", "base_size": 0, "size": light.size, "added": [[0, light.size]], "start": "random",
        "hashes": {"tokenizer": digest}, **{key: result[key] for key in ("shape", "parameters", "tokenizer")},
    }  # fmt: skip
    write_json(folder / RECORD, record)
    shape, parameters = result["shape"], result["parameters"]
    lines = [
        "---", "library_name: transformers", "tags:", "- studio", "---", "",
        f"A {shape['model_shape']} of {told(parameters['all'])} parameters ({parameters['all']:,}) with "
        f"{light.size:,} tokens and random weights. It knows nothing yet: pretrain it with --stage pt.", "",
        f"{shape['num_hidden_layers']} layers of width {shape['hidden_size']}, {shape['num_attention_heads']} heads "
        f"({shape['num_key_value_heads']} of keys and values), {shape['max_position_embeddings']:,} positions.", "",
    ]  # fmt: skip
    write_text(folder / "README.md", "\n".join(lines))


def as_text(found: dict[str, Any]) -> str:
    """What came of it, for a terminal."""
    shape, parameters = found["shape"], found["parameters"]
    return "\n".join([
        f"{found['folder']}: a {shape['model_shape']} of {told(parameters['all'])} parameters ({parameters['all']:,}; "
        f"{parameters['layers']:,} in {shape['num_hidden_layers']} layers), {found['tokens']:,} tokens, "
        f"{found['bytes'] / 1e6:,.1f} MB as {shape['dtype']}",
        *found["notes"],
        f"next: studio train --stage pt --finetuning_type full --model_name_or_path {found['folder']} …",
    ])  # fmt: skip
