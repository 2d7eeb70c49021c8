"""How the command becomes processes: itself, or one for each device through torchrun."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import LostError, StoppedError, StudioError
from studio.jobs.signals import INTERRUPTED
from studio.model.hardware import cores

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

# The folder in which each process of a run leaves the sentence that it ends with.
_LAST_WORDS = "STUDIO_LAST_WORDS"
_UNREACHED = re.compile(
    r"connection (closed|reset|refused)|connect(ing)? .{0,80}(timed out|refused)|timed out waiting|broken pipe"
    r"|remote process exited|watchdog .{0,40}timeout",
    re.IGNORECASE,
)
# What torchrun leaves processes that it asked to end for their last save.
GRACE_S = 600


def visible_devices(environment: Mapping[str, str]) -> int:
    """Number of NVIDIA devices a run would use, without loading torch."""
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return len([part for part in listed.split(",") if part.strip() and part.strip() != "-1"])
    devices = Path("/proc/driver/nvidia/gpus")
    return len(list(devices.iterdir())) if devices.is_dir() else 0


def processes(environment: Mapping[str, str], *, use_cpu: bool) -> int:
    """How many processes train: one a device, or NPROC_PER_NODE when that is set."""
    if asked := environment.get("NPROC_PER_NODE"):
        return max(int(asked), 1) if asked.isdigit() else 1
    return 1 if use_cpu else max(visible_devices(environment), 1)


def is_worker(environment: Mapping[str, str]) -> bool:
    """Whether this process was started by torchrun."""
    return "LOCAL_RANK" in environment and "WORLD_SIZE" in environment


def check_launcher(environment: Mapping[str, str]) -> None:
    """Raise StudioError where another launcher than torchrun's started this process: it keeps no store for all."""
    if is_worker(environment) and "TORCHELASTIC_RUN_ID" not in environment:
        raise StudioError(
            "several processes must be started by the studio itself or by torchrun; LOCAL_RANK was set by another "
            "launcher. Say NPROC_PER_NODE=2 studio train …, or torchrun --nproc_per_node 2 -m studio train …"
        )


def is_main(environment: Mapping[str, str]) -> bool:
    """Whether this process writes the run's files and speaks to the user."""
    return environment.get("RANK", "0") == "0"


@contextlib.contextmanager
def main_first(topic: str) -> Iterator[None]:
    """The main process goes through the block first, the others wait at its door; alone: no wait.

    When the main process fails inside, the others are ended by torchrun while they wait.
    """
    if not is_worker(os.environ):
        yield
        return
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    if is_main(os.environ):
        yield
        store.set(f"studio/{topic}", "done")
        return
    while not store.check([f"studio/{topic}"]):
        time.sleep(0.05)  # and not in one long wait, where a signal would not be heard
    yield


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process of this run cannot be reached, as gloo and NCCL say it."""
    return is_worker(os.environ) and isinstance(error, RuntimeError) and _UNREACHED.search(str(error)) is not None


def lost(error: BaseException) -> LostError:
    """The error to end with then."""
    said = str(error).partition("\n")[0].partition(". ")[0]
    return LostError(
        f"another process of this run ended or cannot be reached, so this one ends too ({said}). What was saved "
        "is whole: the same command goes on from the last checkpoint."
    )


def leave_word(error: StudioError) -> None:
    """Tell the process that started this one what it ends with, unless that is another one's doing."""
    folder = os.environ.get(_LAST_WORDS)
    if folder and is_worker(os.environ) and not isinstance(error, StoppedError | LostError):
        word = json.dumps([error.exit_code, str(error)])
        with contextlib.suppress(OSError):  # what it ends with counts, not that it could not be passed on
            (Path(folder) / f"{int(os.environ['RANK']):05}").write_text(word, encoding="utf-8")


def leave() -> None:
    """End what the processes share; threads that still serve it would end the program with a signal."""
    from torch import distributed

    if is_worker(os.environ) and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def share_threads(environment: MutableMapping[str, str], count: int) -> None:
    """Give each of `count` processes its part of the cores, unless threads were set."""
    environment.setdefault("OMP_NUM_THREADS", str(max(cores() // count, 1)))


def run_all(count: int, arguments: Sequence[str]) -> int:
    """Run `studio` with these arguments once a device, by torchrun's launcher; return the exit code.

    It is that of the process which the others ended for. A signal to this process reaches all of them.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The processes say themselves what is wrong, in a sentence.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    share_threads(os.environ, count)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=uuid.uuid4().hex, max_restarts=0,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", shutdown_timeout=GRACE_S,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="studio-") as words:
        os.environ[_LAST_WORDS] = words
        try:
            elastic_launch(config, sys.executable)("-u", "-m", "studio", *arguments)
        except ChildFailedError as error:
            return _why(error, Path(words), count)
        except SignalException as error:
            return INTERRUPTED if error.sigval == signal.SIGINT else StoppedError.exit_code
        finally:
            del os.environ[_LAST_WORDS]
    return 0


def _why(error: ChildFailedError, words: Path, count: int) -> int:
    """The exit code of the process that the others ended for; its sentence is told where it could not tell it."""
    for left in sorted(words.iterdir()):
        with contextlib.suppress(OSError, ValueError):  # a blow may have fallen while it was written
            code, sentence = json.loads(left.read_text(encoding="utf-8"))
            if int(left.name):  # the main process has told its own
                sys.stderr.write(f"process {int(left.name) + 1} of {count}: {sentence}\n")
            return int(code)
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    # A signal comes before what followed from it; to be ended by the launcher or to lose another process is no reason.
    followed = (LostError.exit_code, -signal.SIGTERM)
    rank = min(codes, key=lambda rank: (codes[rank] in followed, codes[rank] >= 0, rank))
    if codes[rank] >= 0:
        return codes[rank]
    name = error.failures[rank].signal_name()
    hint = "; where memory is short the system does that" if name == "SIGKILL" else ""
    sys.stderr.write(
        f"process {rank + 1} of {count} was killed by signal {-codes[rank]} ({name}), so the run ended{hint}. What was "
        "saved is whole: the same command goes on from the last checkpoint.\n"
    )
    return 128 - codes[rank]
