"""With STUDIO_ROOTS every path stays inside; links that the owner laid at the top count, deeper ones do not."""

import os
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.workspace import Workspace, resolve


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    root = tmp_path / "ws"
    for name in ("models/base", "data", "saves", ".studio"):
        (root / name).mkdir(parents=True)
    for name in ("outside", "ws-beside", "disk/model"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "outside" / "secret.txt").write_text("secret")
    monkeypatch.setenv("STUDIO_ROOTS", str(root))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Workspace(root)


INSIDE = ["models/base", "saves/new/lora/run", "./data", "data/../models", "saves//x", "a/../a", "models/…", "名字"]


@pytest.mark.parametrize("asked", INSIDE)
def test_a_path_inside_is_taken(place: Workspace, asked: str) -> None:
    assert place.path(asked).is_relative_to(place.root)


OUTSIDE = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "//etc/passwd",
    "/",
    "..",
    "~",
    "~/x",
    "~root/x",
    "/proc/self/root/etc/passwd",
    "/proc/self/cwd/../..",
    "data/../../outside/secret.txt",
    "../ws-beside/x",
    "/dev/stdin",
    "/tmp",
]


@pytest.mark.parametrize("asked", OUTSIDE)
def test_a_path_that_leads_outside_is_refused(place: Workspace, asked: str) -> None:
    with pytest.raises(StudioError, match="outside the folders"):
        place.path(asked)


ODD = ["", "a\0b", "a\nb", "a\rb", "x" * 300, "x/" * 2500, "~nobody-of-that-name/x", "a\ud800b"]


@pytest.mark.parametrize("asked", ODD)
def test_what_no_file_can_be_called_is_refused_with_a_sentence(place: Workspace, asked: str) -> None:
    with pytest.raises(StudioError) as refusal:
        place.path(asked)
    assert len(str(refusal.value)) < 700


# On Linux these are names like any other, and stay where they are.
@pytest.mark.parametrize(
    "asked", ["..\\..\\x", "C:\\x", "%2e%2e%2fx", "．．／x", "$HOME", "\\\\srv\\x", "CON", " x", "x."]
)
def test_what_other_systems_take_for_a_way_out_is_a_name_here(place: Workspace, asked: str) -> None:
    assert place.path(asked).parent == place.root


def test_a_link_that_leads_outside_is_refused(place: Workspace) -> None:
    (place.root / "saves" / "link").symlink_to(place.root.parent / "outside")
    (place.root / "models" / "base" / "deep").symlink_to(place.root.parent / "outside")
    for asked in ("saves/link", "saves/link/secret.txt", "models/base/deep/secret.txt"):
        with pytest.raises(StudioError, match="outside the folders"):
            place.path(asked)


def test_links_directly_in_models_and_data_count_as_roots(place: Workspace) -> None:
    (place.root / "models" / "big").symlink_to(place.root.parent / "disk" / "model")
    (place.root / "data" / "rows.json").symlink_to(place.root.parent / "outside" / "secret.txt")
    assert place.path("models/big/config.json").name == "config.json"
    assert place.path("data/rows.json").read_text() == "secret"
    with pytest.raises(StudioError):
        place.path("models/big/../../../disk/other")
    with pytest.raises(StudioError):
        place.path(str(place.root.parent / "outside" / "other"))


def test_models_itself_may_lie_on_another_disk(place: Workspace) -> None:
    (place.root / "saves").rmdir()
    (place.root / "saves").symlink_to(place.root.parent / "disk")
    assert place.path("saves/model/lora/run").parent.name == "lora"


def test_a_further_root_is_allowed_whole(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = os.pathsep.join([str(place.root), str(place.root.parent / "disk")])
    monkeypatch.setenv("STUDIO_ROOTS", roots)
    assert resolve(place.root, str(place.root.parent / "disk" / "model")).name == "model"
    with pytest.raises(StudioError, match="--root"):
        place.path(str(place.root.parent / "disk-beside"))


def test_a_person_in_a_terminal_may_name_any_path(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDIO_ROOTS")
    assert place.path("/etc/passwd") == Path("/etc/passwd")
