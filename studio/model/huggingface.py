"""Files of a repository on Hugging Face, or on a mirror that HF_ENDPOINT names, through huggingface_hub."""

from __future__ import annotations

import errno
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.model.asking import (
    ANSWER_S,
    Refused,
    Unreachable,
    Wanted,
    brief,
    refuse_full_disk,
    refuse_outside,
    shown,
    tell,
    within,
)

# Answers that say that the hub is there and in trouble.
TROUBLE = (408, 429, 500, 502, 503, 504)


def endpoint() -> str:
    """The address that is asked, as it may be shown."""
    from huggingface_hub import constants

    return shown(constants.ENDPOINT)


def listed(wanted: Wanted) -> dict[str, int]:
    """The files of the repository by path, with their sizes. Raises Unreachable or Refused."""
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    def ask() -> Any:
        return HfApi().repo_info(
            wanted.repo, repo_type=wanted.kind, revision=wanted.revision, timeout=ANSWER_S, files_metadata=True
        )

    try:
        info = within(ANSWER_S, ask)
    except OfflineModeIsEnabled:
        raise Unreachable("HF_HUB_OFFLINE is set") from None
    except HfHubHTTPError as error:
        raise _answered(error, wanted) from None
    except HFValidationError as error:
        raise Refused(f"{wanted.repo!r} is no name of a repository ({brief(error)}). Write owner/name.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise Unreachable(brief(error)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # A page to log in at, or a proxy's own words.
        raise Unreachable("what answers there does not speak as a hub does") from None
    sizes = {str(file.rfilename): file.size or 0 for file in info.siblings or ()}
    for path in sizes:
        refuse_outside(path)
    return sizes


def download(wanted: Wanted, files: Mapping[str, int]) -> Path:
    """Fetch what is wanted of the listed files; gives the folder. Raises Unreachable, Refused, DiskFullError."""
    import httpx2
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    missing = sum(files[name] for name in wanted.select(files) if not _is_cached(wanted, name))
    if missing:
        refuse_full_disk(wanted.cache or Path(constants.HF_HUB_CACHE), missing, wanted.repo)
        tell(f"fetching {wanted.repo}, {missing:,} bytes, from {endpoint()}")
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return _snapshot(wanted, snapshot_download, local_files_only=False)
    except HfHubHTTPError as error:
        raise _answered(error, wanted) from None
    except (httpx2.HTTPError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Unreachable(f"the download broke off: {brief(error)}") from None


def cached(wanted: Wanted) -> Path | None:
    """The snapshot that was fetched earlier, if all of it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return _snapshot(wanted, snapshot_download, local_files_only=True)
    except (OSError, HFValidationError):
        return None


def cached_names(wanted: Wanted) -> tuple[list[str], bool]:
    """The files of the repository as it was when something of it was fetched, and whether these are all of them.

    An older client kept no list, and then they are those that were fetched.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError

    try:
        tree = get_cached_repo_tree(
            wanted.repo, repo_type=wanted.kind, revision=wanted.revision, cache_dir=wanted.cache
        )
        return [file.path for file in tree], True
    except (OSError, HFValidationError, CachedRepoTreeNotFoundError):
        earlier = cached(wanted)
    return [str(file.relative_to(earlier)) for file in earlier.rglob("*") if file.is_file()] if earlier else [], False


def _snapshot(wanted: Wanted, snapshot_download: Any, *, local_files_only: bool) -> Path:
    return Path(
        snapshot_download(
            wanted.repo,
            repo_type=wanted.kind,
            revision=wanted.revision,
            cache_dir=wanted.cache,
            allow_patterns=list(wanted.allow),
            ignore_patterns=list(wanted.ignore),
            local_files_only=local_files_only,
        )
    )


def _is_cached(wanted: Wanted, name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        wanted.repo, name, cache_dir=wanted.cache, revision=wanted.revision, repo_type=wanted.kind
    )
    return isinstance(found, str)


def _answered(error: Any, wanted: Wanted) -> Refused | Unreachable:
    """What to tell for an answer that is an error."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import DisabledRepoError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    code, token = error.response.status_code, get_token()
    path = wanted.repo if wanted.kind == "model" else f"datasets/{wanted.repo}"
    page = f"{endpoint()}/{path}"
    if isinstance(error, GatedRepoError):
        account = "the token that is set belongs to an account without it" if token else "no token is set"
        return Refused(
            f"{page} is given only to those who were granted access, and {account}. Ask for access on that page, "
            "then set HF_TOKEN in the environment to a token of the account."
        )
    if isinstance(error, RevisionNotFoundError):
        return Refused(f"{page} has no revision {wanted.revision!r}. Name a branch, tag or commit that is there.")
    if isinstance(error, DisabledRepoError):
        return Refused(f"{page} was closed by its owner or the hub. Take another.")
    if isinstance(error, RepositoryNotFoundError) or code in (401, 403, 404):
        right = "the token that is set gives no right to it" if token else "for a private one set HF_TOKEN"
        return Refused(
            f"{endpoint()} has no {wanted.kind} {wanted.repo!r} for you (answer {code}). Check the spelling; {right}."
        )
    if code in TROUBLE:
        return Unreachable(f"it answers {code}")
    return Unreachable(f"it answers {code}: {brief(error)}")
