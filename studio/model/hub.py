"""Models and datasets that lie on a hub: fetched into its cache, or a sentence within seconds."""

from __future__ import annotations

from pathlib import Path

from studio.errors import ModelError

HUB_ANSWER_S = 10


def fetch_model(name: str, revision: str, cache: Path | None, hint: str) -> Path:
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
