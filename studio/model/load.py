"""From a model's name to its folder, and from the folder to weights in memory."""

from __future__ import annotations

import difflib
import json
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.arguments.model import ModelArguments
from studio.errors import ModelError
from studio.model.adapter import started_from
from studio.workspace import Workspace

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

HUB_ANSWER_S = 10


def find_model(name: str, place: Workspace, *, revision: str = "main", cache_dir: str = "") -> Path:
    """The folder of a model: a local one, else a snapshot from the hub.

    `x/y` whose first part is a folder of the workspace is always a local path, never a hub id.
    Raises ModelError when it is neither.
    """
    path = place.path(name)
    if path.is_dir():
        if not (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
            raise ModelError(
                f"{name!r} must hold a model; the folder has no config.json. It holds: "
                f"{', '.join(sorted(entry.name for entry in path.iterdir())[:8]) or 'nothing'}."
            )
        return path
    local = name.startswith((".", "/", "~")) or name.count("/") != 1
    if local or place.path(name.split("/")[0]).is_dir():
        raise ModelError(f"no model folder {name!r} in {place.root}.{_inside(name, place) or _nearby(path)}")
    return _from_hub(name, revision, place.path(cache_dir) if cache_dir else None, _other_case(name, place))


def find_adapters(names: Iterable[str], place: Workspace) -> list[Path]:
    """Folders of adapters in the order they apply, each after those its run merged into the base first.

    Raises ModelError when one of them is not there.
    """
    return _with_earlier(names, place, frozenset())


def _with_earlier(names: Iterable[str], place: Workspace, seen: frozenset[Path]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        folder = find_model(name, place)
        before = [] if folder in seen else _with_earlier(started_from(folder), place, seen | {folder})[:-1]
        found += [path for path in (*before, folder) if path not in found]
    return found


def _inside(name: str, place: Workspace) -> str:
    """' Did you mean …?' for a folder of models/ or saves/ that was named without it."""
    for room in (place.models, place.saves):
        if (room / name).is_dir():
            return f" Did you mean {room.name}/{name}?"
    return ""


def _other_case(name: str, place: Workspace) -> str:
    """' Did you mean …?' when only upper and lower case keep `x/y` from being a folder here."""
    first, rest = name.split("/")
    near = [entry.name for entry in place.root.iterdir() if entry.name.casefold() == first.casefold()]
    return f" Did you mean {near[0]}/{rest}? Upper and lower case count." if near else ""


def _nearby(path: Path) -> str:
    """' Did you mean …?' for a folder that is spelled nearly the same."""
    for parent in (path.parent, path.parent.parent):
        if parent.is_dir():
            names = [entry.name for entry in parent.iterdir() if entry.is_dir()]
            lower = {name.lower(): name for name in names}
            wanted = path.name if parent == path.parent else path.parent.name
            near = difflib.get_close_matches(wanted.lower(), list(lower), n=1, cutoff=0.6)
            if near:
                return f" Did you mean {lower[near[0]]!r} there? Upper and lower case count."
            return f" {parent} holds: {', '.join(sorted(names)[:8]) or 'no folders'}."
    return " Check the path."


def _from_hub(name: str, revision: str, cache: Path | None, hint: str) -> Path:
    """A snapshot from the hub, or from its cache when the hub does not answer. Raises ModelError."""
    import httpx2
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "tokenizer*"]
    reason = ""
    try:
        # The download below asks the hub without a limit of time, and behind a firewall nobody ever answers.
        HfApi().model_info(name, revision=revision, timeout=HUB_ANSWER_S)
    except OfflineModeIsEnabled:
        reason = "HF_HUB_OFFLINE is set, and it is not in the cache"
    except (httpx2.HTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split())[:160] or f"no answer within {HUB_ANSWER_S} s"
    try:
        return Path(
            snapshot_download(
                name, revision=revision, cache_dir=cache, allow_patterns=patterns, local_files_only=bool(reason)
            )
        )
    except (httpx2.HTTPError, HFValidationError, OSError) as error:
        raise ModelError(
            f"{name!r} is no folder here and could not be fetched from the hub "
            f"({reason or ' '.join(str(error).split())[:160]}).{hint} "
            "Put the model's folder under models/ and name it as models/<name>."
        ) from None


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json. Raises ModelError when it is absent or broken."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder} has no config.json. Name the folder of a whole model.") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not JSON: {error}. Get the file anew.") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} must hold an object; it holds {type(config).__name__}.")
    return config


def check_code(folder: Path, config: dict[str, Any], *, trust: bool) -> None:
    """Refuse a model that wants to run its own Python code, unless that was asked for."""
    if "auto_map" in config and not trust:
        code = ", ".join(sorted(file.name for file in folder.glob("*.py"))) or "on the hub"
        raise ModelError(
            f"{folder.name} runs Python code of its own ({code}), which may do anything with this "
            "machine. Read it; then start with --trust_remote_code True."
        )


def check_type(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a model that transformers has no class for, before a run is started with it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if "auto_map" in config or kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return
    known = "which continues no text" if kind in CONFIG_MAPPING_NAMES else "which this transformers does not know"
    found = f"it names {kind!r}, {known}" if kind else "it names none"
    raise ModelError(
        f"{folder / 'config.json'} must name the model_type of a causal language model; {found}. "
        "Choose another model, or install a transformers that knows it."
    )


def keep_upstream_quiet() -> None:
    """Keep upstream's progress bars out of logs and pipes, and what peft is to mend from everybody."""
    from transformers.utils import logging

    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

    if not sys.stderr.isatty():
        logging.disable_progress_bar()


ATTENTION = {"disabled": "eager", "sdpa": "sdpa", "fa2": "flash_attention_2", "fa3": "flash_attention_3"}


def load_model(folder: Path, arguments: ModelArguments, dtype: torch.dtype) -> PreTrainedModel:
    """A causal language model with every weight in `dtype`. Raises ModelError."""
    from transformers import AutoModelForCausalLM

    keep_upstream_quiet()
    config = read_config(folder)
    check_code(folder, config, trust=arguments.trust_remote_code)
    asked = ATTENTION.get(arguments.flash_attn)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=asked,
            trust_remote_code=arguments.trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
        )
    except (ValueError, ImportError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the model in {folder} cannot be loaded: {reason}") from error
    model.config.use_cache = False
    return model
