"""Pickled weights (.bin, Meta's .pth) → safetensors, once, in a process of its own.

Opening a pickle can run code. Here it is opened only with `weights_only`, which builds tensors and
nothing else, and only in a child process that gets no secrets in its environment. Files are mapped
and not read, so that memory holds one tensor, and one of them is open at a time; of Meta's form all
are, since each holds a slice of every matrix. The older form of pickles cannot be mapped and is read
whole. What cannot be opened this way is refused; there is no second way.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from studio.arguments.export import ExportArguments
from studio.errors import DiskFullError, ModelError, StudioError
from studio.model.weights import is_meta, pickled, tensors

if TYPE_CHECKING:
    import torch

INDEX = "pytorch_model.bin.index.json"
SINGLE = "pytorch_model.bin"
ADAPTER = "adapter_model.bin"
# What the child may know of its surroundings.
PASSED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
          "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "STUDIO_ROOTS")  # fmt: skip


def convert(
    source: Path, target: Path, asked: ExportArguments, progress: Callable[[int, int], None] | None = None
) -> int:
    """Convert the folder `source` into the new folder `target` in a child process; gives its exit code.

    `progress` gets the bytes done and the bytes in all. The child says itself what is wrong. Raises ModelError
    when it was ended from outside.
    """
    environment = {name: os.environ[name] for name in PASSED if name in os.environ}
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "HF_HUB_OFFLINE": "1"}
    order = {
        "source": str(source), "target": str(target), "shard_bytes": asked.export_size * 10**9,
        "dtype": asked.infer_dtype, "replace": asked.overwrite_export_dir,
    }  # fmt: skip
    # -P: no module of the current folder stands in for one of Python's.
    words = [sys.executable, "-P", "-m", __spec__.name, json.dumps(order)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            for line in child.stdout or ():
                done, _, total = line.strip().partition(" ")
                if progress is not None and done.isdecimal() and total.isdecimal():
                    progress(int(done), int(total))
            code = child.wait()
        except BaseException:
            child.terminate()
            raise
    if code < 0:
        raise ModelError(
            f"the conversion of {source} was ended by signal {-code}. When memory ran out, free some; "
            "nothing is left of the try."
        )
    return code


def open_pickle(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one pickled file, mapped where its form allows. Raises ModelError; runs nothing."""
    import torch

    if not path.is_file():
        raise ModelError(f"{path} is named by the index, but is not there. Get the model anew.")
    with path.open("rb") as file:
        if file.read(8) == b"version ":
            raise ModelError(f"{path} is a git-LFS pointer, not the weights. Fetch them with: git lfs pull")
    try:
        # The older form has no directory of its content and must be read whole.
        mapped = zipfile.is_zipfile(path)
        found = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except torch.serialization.pickle.UnpicklingError as error:
        raise ModelError(_not_only_weights(path, str(error))) from None
    except (RuntimeError, ValueError, EOFError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} must be a file of weights that torch saved; it cannot be opened: {reason}") from None
    wrong = [name for name, value in found.items() if not _is_plain(name, value)] if isinstance(found, dict) else [""]
    if wrong:
        raise ModelError(
            f"{path} must hold tensors by name; {f'{wrong[0]!r} is none' if wrong[0] else 'it does not'}. "
            "Save the state_dict of the model alone and try again."
        )
    return {name: value.detach() for name, value in found.items()}


def _is_plain(name: object, value: object) -> bool:
    import torch

    return isinstance(name, str) and isinstance(value, torch.Tensor) and value.layout == torch.strided


def _not_only_weights(path: Path, said: str) -> str:
    words = said.split()
    at = words.index("GLOBAL") + 1 if "GLOBAL" in words else 0
    what = f"it asks for {words[at]} when it is opened" if at and at < len(words) else "it is no plain list of tensors"
    return (
        f"{path} holds more than weights: {what}. Such a file can do anything with this machine, so it was not "
        "opened and nothing of it was run. Take the model from a source with safetensors files."
    )


def files_of(folder: Path) -> list[str]:
    """The pickled files that make up the model in a folder. Raises ModelError when it has none or lacks one."""
    if (folder / INDEX).is_file():
        try:
            named = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(f"{folder / INDEX} must be JSON with a weight_map; it is not ({error}).") from None
        if bad := [file for file in named if not isinstance(file, str) or Path(file).name != file]:
            raise ModelError(f"{folder / INDEX} must name files of its own folder; it names {bad[0]!r}.")
        if not named:
            raise ModelError(f"{folder / INDEX} must name the files of the weights; it names none. Get it anew.")
        return sorted(named)
    for name in (SINGLE, ADAPTER):
        if (folder / name).is_file():
            return [name]
    if is_meta(folder):
        return sorted(path.name for path in folder.glob("consolidated.*.pth"))
    there = pickled(folder)
    raise ModelError(
        f"a folder to convert must hold {SINGLE}, {INDEX}, {ADAPTER}, or params.json with consolidated.*.pth; "
        f"{folder} does not. Its pickled files: {', '.join(there[:8]) or 'none'}."
    )


def refuse_needless(folder: Path) -> None:
    """Raise ModelError for a folder that needs no conversion, or holds nothing to convert."""
    if not folder.is_dir():
        raise ModelError(f"--convert_pickle needs a folder on this machine; there is none at {folder}.")
    if any(folder.glob("*.safetensors")):
        tensors(folder)
        raise ModelError(f"{folder} has safetensors already; its pickled files are never read. Leave out "
                         "--convert_pickle.")  # fmt: skip
    files_of(folder)


def main(words: list[str]) -> int:
    """The child: convert as the one word says, and give the exit code; errors are sentences."""
    from studio.model.conversion import run

    order = json.loads(words[0])
    # Being asked to end is an error like any other on the way: what was half written is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(Path(order.pop("source")), Path(order.pop("target")), **order)
        return 0
    except StudioError as error:
        told: StudioError = error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        told = DiskFullError("the disk is full. Free space, then give the same command.")
    except KeyboardInterrupt:
        return 130
    sys.stderr.write(f"{told}\n")
    return told.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
