"""Checks of the machine: Python, packages, GPUs and torch, memory, threads, locale."""

from __future__ import annotations

import importlib.metadata
import json
import locale
import os
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from studio.doctor.facts import OPTIONAL, SHARED_MEMORY, gpus, torch_cuda, version
from studio.doctor.finding import Finding, broken, ok, warning
from studio.loop.zero import lock_told, old_locks
from studio.model.hardware import cores, memory_bytes

GIB = 2**30
PROBE_S = 180
INSTALL = "Install studio again: pip install --constraint constraints.txt ."
# torch's loaders hand batches on through shared memory, and so do the processes of several GPUs.
LEAST_SHARED_BYTES = 256 << 20
LEAST_FILES = 1024


def python() -> list[Finding]:
    """The interpreter. Its version was checked before anything else ran."""
    inside = sys.prefix != sys.base_prefix
    where = "in an environment of its own" if inside else "the system's own"
    return ok("python", f"{platform.python_version()}, {where}: {sys.executable}")


def packages() -> list[Finding]:
    """Whether every package that is needed is there, in a version that is known to work."""
    from packaging.requirements import Requirement

    try:
        needed = importlib.metadata.requires("studio") or []
    except importlib.metadata.PackageNotFoundError:
        return warning("packages", "studio itself is not installed, so the versions it needs are not known.", INSTALL)
    wanted = [Requirement(line) for line in needed]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    missing = [one.name for one in wanted if not version(one.name)]
    if missing:
        return broken("packages", f"not installed: {', '.join(missing)}.", INSTALL)
    other = [
        f"{one.name} {version(one.name)} (needs {one.specifier})"
        for one in wanted
        if not one.specifier.contains(version(one.name), prereleases=True)
    ]
    if other:
        return warning("packages", f"versions that studio was not made for: {', '.join(other)}.", INSTALL)
    return ok("packages", f"all {len(wanted)} that studio needs, in versions that fit")


def extras() -> list[Finding]:
    """What is installed of the things that a run may use."""
    there = [f"{name} {version(name)}" for name in OPTIONAL if version(name)]
    absent = [f"{name} (extra {extra!r})" if extra else name for name, extra in OPTIONAL.items() if not version(name)]
    found = ok("extras", f"installed: {', '.join(there) or 'none'}; not installed: {', '.join(absent) or 'none'}")
    return found + [
        finding
        for path in old_locks()
        for finding in warning("extensions", f"{path} is an old lock of a compilation", lock_told(path))
    ]


def devices() -> list[Finding]:
    """Driver, torch and bitsandbytes, each tried in a process of its own."""
    steps, end = _probe()
    torch_step = next((step for step in steps if step["step"] == "torch"), None)
    found = driver(torch_step["devices"] if torch_step else 0, torch_cuda())
    if torch_step is None:
        return [*found, *broken("torch", f"torch cannot be imported: {end}", INSTALL)]
    build = torch_cuda() or "the CPU"
    found += ok("torch", f"{torch_step['version']}, built for {build}; {torch_step['devices']} GPUs")
    for step in steps:
        if step["step"] == "matmul":
            found += _matmul(step)
    return [*found, *_four_bits(next((step for step in steps if step["step"] == "bitsandbytes"), None), end)]


def _probe() -> tuple[list[dict[str, Any]], str]:
    """What the steps of the probe said, and how it ended ('' when well)."""
    command = [sys.executable, "-P", "-m", "studio.doctor.probe"]
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=PROBE_S, env=environment, check=False
        )
        out, code, said = done.stdout, done.returncode, done.stderr
    except subprocess.TimeoutExpired as error:
        out = (error.stdout or b"").decode("utf-8", "replace") if isinstance(error.stdout, bytes) else ""
        code, said = -9, f"no end within {PROBE_S} s"
    steps = [json.loads(line) for line in out.splitlines() if line.startswith('{"step"')]
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    return steps, "" if code == 0 else f"{last or 'no word'} (exit code {code})"


def driver(usable: int, built: str) -> list[Finding]:
    """Whether torch, built for `built` ('' for the CPU), can use the driver's GPUs; it sees `usable` of them."""
    found, newest = gpus()
    if not found:
        amd = " An AMD device is there." if Path("/dev/kfd").exists() else ""
        return ok("gpu", f"no NVIDIA driver answers: runs go on {'torch devices' if usable else 'the CPU'}.{amd}")
    names = ", ".join(f"{gpu.name} with {gpu.memory_free_mib:,} of {gpu.memory_total_mib:,} MiB free" for gpu in found)
    text = f"{names}; driver {found[0].driver}, which serves CUDA up to {newest or 'unknown'}"
    if not built.startswith("CUDA"):
        remedy = "Install a torch that is built for CUDA: see pytorch.org, Get Started."
        return broken("gpu", f"{text}; but torch is built for {built or 'the CPU'}.", remedy)
    if newest and _numbers(built.split()[1])[0] > _numbers(newest)[0]:
        remedy = f"Update the driver, or install a torch that is built for CUDA {newest.split('.')[0]}."
        return broken("gpu", f"{text}; but torch is built for {built}.", remedy)
    if not usable:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = f" CUDA_VISIBLE_DEVICES is {hidden!r}." if hidden is not None else ""
        remedy = "Unset CUDA_VISIBLE_DEVICES, or start the container with --gpus all; then look at nvidia-smi."
        return warning("gpu", f"{text}; but torch sees none.{why}", remedy)
    return ok("gpu", text)


def _matmul(step: dict[str, Any]) -> list[Finding]:
    name = f"bf16 on {step['device']}"
    if "said" in step:
        remedy = "Free the device, or install a torch that knows it; nvidia-smi shows who uses it."
        return broken(name, f"a product of two small matrices failed: {step['said']}", remedy)
    if not step["right"]:
        remedy = "Do not train on this device: test its memory, and update driver and torch."
        return broken(name, f"a product of two small matrices is wrong by {step['error']:.0%}.", remedy)
    if not step["fast_bf16"]:
        return warning(name, f"{step['name']} has no bfloat16 of its own.", "Use --fp16 True there, or --bf16 False.")
    return ok(name, f"{step['name']} computes it right")


def _four_bits(step: dict[str, Any] | None, end: str) -> list[Finding]:
    remedy = "Only --quantization_bit and the 8-bit and paged optimizers need it. " + INSTALL
    if step is None:
        return broken("bitsandbytes", f"the trial was ended: {end}", remedy)
    if not step["right"]:
        said = step.get("said") or f"4-bit numbers come back wrong by {step['error']:.2f}"
        return broken("bitsandbytes", f"it does not work on {step['device']}: {said}", remedy)
    return ok("bitsandbytes", f"{version('bitsandbytes')}, 4-bit numbers there and back on {step['device']}")


def memory() -> list[Finding]:
    """Memory, shared memory, and the open files that a process may have."""
    total, free = memory_bytes()
    text = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free"
    found = ok("memory", text)
    if free < 2 * GIB:
        found = warning("memory", f"{text}.", "End what you do not need; studio train --plan tells what a run needs.")
    shared = shutil.disk_usage(SHARED_MEMORY).total if SHARED_MEMORY.is_dir() else 0
    if shared < LEAST_SHARED_BYTES:
        remedy = "Start the container with --shm-size 8g; until then keep --dataloader_num_workers 0."
        found += warning("shared memory", f"{SHARED_MEMORY} has {shared / 2**20:.0f} MiB.", remedy)
    else:
        found += ok("shared memory", f"{shared / GIB:.1f} GiB")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= files < LEAST_FILES:
        found += warning("open files", f"a process may have {files}.", f"Raise it: ulimit -n {LEAST_FILES}.")
    return found


def threads() -> list[Finding]:
    """The variables that say how many threads compute."""
    set_to, have = os.environ.get("OMP_NUM_THREADS"), cores()
    if os.environ.get("OMP_WAIT_POLICY", "").lower() == "active":
        remedy = "Unset it: on a shared machine waiting threads must sleep."
        return warning("threads", "OMP_WAIT_POLICY is active, so waiting threads use up the cores.", remedy)
    if set_to is None:
        return ok("threads", f"OMP_NUM_THREADS is not set: a run takes the {have} cores it may use")
    if not set_to.isdigit() or not 1 <= int(set_to) <= have:
        remedy = f"Unset it, or set it to a number from 1 to {have}."
        return warning("threads", f"OMP_NUM_THREADS is {set_to!r}, and this process may use {have} cores.", remedy)
    return ok("threads", f"OMP_NUM_THREADS is {set_to}, of {have} cores")


def text_encoding() -> list[Finding]:
    """Whether names and texts are UTF-8 everywhere."""
    used = {
        "locale": locale.getencoding(),
        "file names": sys.getfilesystemencoding(),
        "output": getattr(sys.stdout, "encoding", None) or "utf-8",
    }
    other = [f"{what} {name}" for what, name in used.items() if name.lower().replace("-", "") not in ("utf8", "u8")]
    if other:
        return warning("text", f"not UTF-8: {', '.join(other)}.", "Set LANG=C.UTF-8, or PYTHONUTF8=1.")
    return ok("text", "UTF-8 everywhere")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit()) or (0,)
