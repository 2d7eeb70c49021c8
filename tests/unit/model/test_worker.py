"""A worker process ends with the one that began it."""

import os
import subprocess
import sys
import time

BEGINS = """
import os, signal, time
from studio.model.worker import begin_worker
child = os.fork()
if child == 0:
    begin_worker()
    print(os.getpid(), flush=True)
    time.sleep(120)
os.read(0, 1)
os.kill(child, signal.SIGTERM)
time.sleep(0.2)
print("stays" if os.waitpid(child, os.WNOHANG)[0] == 0 else "gone", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_leaves_stops_to_its_parent_and_ends_when_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", BEGINS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"stays\n"
        parent.wait(10)
        until = time.monotonic() + 10
        while _lives(worker) and time.monotonic() < until:
            time.sleep(0.02)
        assert not _lives(worker)
