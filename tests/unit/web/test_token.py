"""The token is made once, kept for its owner alone, and never weak."""

import os
from pathlib import Path

import pytest

from studio.errors import UsageError, WorkspaceError
from studio.web.token import find_token, kept_secret
from studio.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_token_stays_the_same_until_a_new_one_is_asked_for(place: Workspace) -> None:
    first = find_token(place, {})
    assert len(first) == 32
    assert find_token(place, {}) == first
    second = find_token(place, {}, new=True)
    assert second != first
    assert find_token(place, {}) == second


def test_only_its_owner_can_read_it(place: Workspace) -> None:
    before = os.umask(0)
    try:
        find_token(place, {})
    finally:
        os.umask(before)
    assert (place.root / ".studio" / "token").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (place.root / ".studio").iterdir()) == ["token"]


@pytest.mark.parametrize("text", ["", "short", "x" * 1000, "with blank in the middle", "kein-ümlaut-darf-hier-stehen"])
def test_a_damaged_token_is_made_anew(place: Workspace, text: str) -> None:
    path = place.root / ".studio" / "token"
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    assert len(find_token(place, {})) == 32


def test_a_token_that_others_could_read_is_made_anew(place: Workspace) -> None:
    first = find_token(place, {})
    (place.root / ".studio" / "token").chmod(0o644)
    assert find_token(place, {}) != first


def test_a_link_in_its_place_is_not_followed(place: Workspace, tmp_path: Path) -> None:
    path = tmp_path / ".studio" / "token"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkspaceError, match="Remove it"):
        kept_secret(path)
    assert not (tmp_path / "elsewhere").exists()


def test_the_environment_wins_and_is_not_kept(place: Workspace) -> None:
    assert find_token(place, {"STUDIO_TOKEN": "0123456789abcdef0123"}) == "0123456789abcdef0123"
    assert not (place.root / ".studio").exists()


@pytest.mark.parametrize(
    "weak", ["", "short", "a" * 30, "with blank in the middle", "ümlaut-" * 4, "x" * 201, "abab" * 8]
)
def test_a_weak_token_in_the_environment_is_refused_and_not_shown(place: Workspace, weak: str) -> None:
    with pytest.raises(UsageError, match="STUDIO_TOKEN must be") as refusal:
        find_token(place, {"STUDIO_TOKEN": weak})
    assert not weak or weak not in str(refusal.value)


def test_a_new_token_cannot_be_asked_for_when_the_environment_has_one(place: Workspace) -> None:
    with pytest.raises(UsageError, match="Unset one"):
        find_token(place, {"STUDIO_TOKEN": "0123456789abcdef0123"}, new=True)
