"""How much CPU time the terminal takes to answer: best of five starts, user and system together.

python benchmarks/start.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TARGETS_S = {"--help": 0.1, "version": 0.1, "train --help": 0.35}
STARTS = 5


def cpu_s(argv: list[str]) -> float:
    """CPU seconds of one process, user and system."""
    running = subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=TOP)
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        sys.exit(f"{' '.join(argv)} ended with {running.returncode}; run it by hand to see why.")
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table; end with 1 when a target is missed."""
    # The first start of all compiles the sources and warms the disk cache; it is not counted.
    cpu_s([sys.executable, "-m", "studio", "train", "--help"])
    missed = False
    print(f"{'command':<22}{'CPU s':>8}{'at most':>9}")
    print(f"{'(python alone)':<22}{min(cpu_s([sys.executable, '-c', '']) for _ in range(STARTS)):>8.3f}")
    for verb, target in TARGETS_S.items():
        best = min(cpu_s([sys.executable, "-m", "studio", *verb.split()]) for _ in range(STARTS))
        missed |= best > target
        print(f"{'studio ' + verb:<22}{best:>8.3f}{target:>9.2f}{'  MISSED' if best > target else ''}")
    sys.exit(int(missed))


if __name__ == "__main__":
    main()
