"""Why a command ended badly: exit code and log → the kind of failure, the line that proves it, what to do.

The exit code speaks first (`studio.errors` gives each kind of error one), the end of the log second.
"""

from __future__ import annotations

import re
import signal as signals
from dataclasses import dataclass
from pathlib import Path

# Escape sequences of a terminal, and what a bar wrote over with a carriage return.
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]")
# Keys of accounts, which a program may print with an address or a header.
_SECRET = re.compile(r"\b(hf_|sk-|ghp_|gho_|github_pat_)[A-Za-z0-9_-]{16,}")
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?!\n)", re.MULTILINE)
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(,\d+)? (error: )?")
# What a line quotes is somebody else's text, such as a cell of a row: it proves nothing.
_QUOTED = re.compile(r"(?<!\w)(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")(?!\w)")
# Frames of a traceback, torchrun's rulers, empty lines and the command itself prove nothing.
_EMPTY = re.compile(
    r"^\s*$|^Traceback \(most recent|^\s*File \"|^\s{4}|^[\s=─~^_-]+$|^The above exception|^During handling"
    r"|^studio \d[\w.]*: studio |^attempt \d+: "
)
# How many of the last lines are looked at, and how much of one is shown.
_LINES, _SHOWN = 400, 600
# What nobody knows is shown with so many of its last lines.
UNKNOWN_LINES = 6
INTERRUPTED = 130


@dataclass(frozen=True)
class Failure:
    """One way to fail: `kind` is a key of KINDS, `evidence` a line of the log as it stands there."""

    kind: str
    cause: str
    evidence: str
    remedy: str


# Kind → its cause and what to do. The page has them in its languages, under the same keys.
KINDS: dict[str, tuple[str, str]] = {
    "out_of_memory_device": (
        "The memory of the GPU ran out.",
        "Halve the batch size and double the gradient accumulation; then lower the cut-off length, switch gradient "
        "checkpointing on, or learn with LoRA on a base in 4 bits. Resume goes on from the last checkpoint.",
    ),
    "out_of_memory_host": (
        "The memory of the machine ran out, and the process was refused more or ended by the system.",
        "Close other programs, lower the batch size, the cut-off length or the number of preprocessing workers, or "
        "take a smaller model. Resume goes on from the last checkpoint.",
    ),
    "bad_row": (
        "A row of the data cannot be used.",
        "The log names the file and the row: correct it or take it out, then start again. With skip_bad_rows "
        "bad rows are left out and counted.",
    ),
    "dataset": (
        "A dataset cannot be used as it is registered.",
        "Look at its entry and its file in the Datasets tab; the log says what was found.",
    ),
    "missing_file": (
        "A file or a folder that the command names is not there.",
        "Check the path and its spelling, put the file there, or choose another.",
    ),
    "bad_argument": (
        "An argument of the command is wrong.",
        "The log says which and what it may be. Clone the job into the form, correct it and start again.",
    ),
    "disk_full": (
        "The disk is full, or would be.",
        "Free space, or keep fewer checkpoints (save_total_limit); then resume. What was saved before is whole.",
    ),
    "diverged": (
        "The training diverged: a loss or a weight is not a finite number any more.",
        "Lower the learning rate, lengthen the warm-up, or look at the rows of that step; then start again.",
    ),
    "hub_unreachable": (
        "The model or the data could not be fetched from the hub.",
        "Check the name, the network, HF_ENDPOINT and the rights of your account. What lies in models/ and data/ "
        "needs no hub.",
    ),
    "package": (
        "A package that this command needs is not installed, or does not fit.",
        "Install what the log names into the studio's environment, or leave out the argument that needs it.",
    ),
    "version": (
        "A version does not fit: of the studio, of a package or of a driver.",
        "Update what the log names. Nothing was changed.",
    ),
    "killed": (
        "The process was ended from outside by a signal, and nobody asked for it here.",
        "The system ends a process like this when memory runs short; a person or a time limit may have done it too. "
        "Resume goes on from the last checkpoint.",
    ),
    "killed_on_request": (
        "It was killed on request, without saving.",
        "Resume goes on from the last checkpoint.",
    ),
    "stopped": ("It was stopped on request.", "Resume goes on from where it stopped."),
    "crashed": (
        "The program broke off in native code.",
        "Run studio doctor: a driver or a package may not fit this machine. Resume goes on from the last checkpoint.",
    ),
    "lost": (
        "It was lost with the machine: a restart or a power cut ended it without a word.",
        "Resume goes on from the last checkpoint.",
    ),
    "process_lost": (
        "Another process of the same run ended or could not be reached.",
        "The log of that process says why. Resume goes on from the last checkpoint.",
    ),
    "folder_in_use": (
        "Another run holds the output folder.",
        "Wait until it ends, stop it, or choose another name for this run.",
    ),
    "folder_taken": (
        "The output folder holds something else already.",
        "Choose another name for the run. With overwrite_output_dir the old folder is moved aside, not removed.",
    ),
    "resume": (
        "The saved state does not fit what is asked now, so the run cannot go on.",
        "Put back what changed, or start anew under another name.",
    ),
    "model": (
        "The model or the adapter cannot be used as it is.",
        "The log says what is wrong with it. Get the files anew, or choose another model.",
    ),
    "template": (
        "The chat template does not fit the model or the data.",
        "Choose another template, or leave it at the model's own.",
    ),
    "device_in_use": (
        "Another job owns the device.",
        "Wait until that job ends, stop it, or choose another device.",
    ),
    "port_in_use": (
        "Another program uses the port.",
        "Stop that program, or choose another port.",
    ),
    "refused": (
        "The studio ended it: what was asked cannot be done so.",
        "The line of the log says what must hold. Change that in the form and start again.",
    ),
    "unknown": (
        "It ended with an error that the studio does not know.",
        "The last lines of the log tell more; studio doctor looks at the machine and the packages.",
    ),
}

_BY_CODE = {
    2: ("bad_argument",),
    3: ("folder_in_use", "port_in_use"),
    4: ("version",),
    11: ("disk_full",),
    12: ("out_of_memory_host", "out_of_memory_device"),
    13: ("diverged",),
    14: ("stopped",),
    15: ("resume",),
    16: ("process_lost",),
    INTERRUPTED: ("stopped",),
}
# Signals of a program that did wrong itself, not of somebody who ended it.
_CRASHES = ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE", "SIGSYS", "SIGTRAP")

# What a line must hold to prove a kind. The first that fits wins; the last fitting line of the log counts.
_PROOFS: tuple[tuple[str, str], ...] = (
    ("out_of_memory_device", r"(^|:\s+|\()(CUDA|HIP|XPU|NPU|MPS)\b[\w: ]{0,20} out of memory"
                             r"|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED"),
    ("out_of_memory_host", r"^memory ran out|^memory: .* are needed|MemoryError|[Cc]annot allocate memory"
                           r"|not enough memory|can't allocate memory|bad_alloc|DataLoader worker .* killed by signal"
                           r"|unable to (mmap|allocate)|^Killed$|oom-kill"),
    ("disk_full", r"disk is full|^disk: .* are needed|GB free\. Free s|filled up\.|No space left on device"
                  r"|Disk quota exceeded|not enough disk"),
    ("diverged", r"training diverged|the adapter makes .* infinite or not a number"),
    ("port_in_use", r"^port \d+ of .* is in use|Address already in use"),
    ("folder_in_use", r" is in use by "),
    ("version", r"written by a newer studio|needs Python \d|driver version is insufficient|driver .* is too old"
                r"|install a transformers that knows it|no kernel image is available"),
    ("resume", r"--resume_from_checkpoint .*(must be|cannot be used)|has no checkpoint to go on from"
               r"|must be what the run began with|cannot be gone on from|was saved at ZeRO stage"),
    ("folder_taken", r"holds a run of another recipe|holds this run, finished|must be a run of the studio or empty"
                     r"|target must be a new folder|cannot be read as the record of a run"),
    ("package", r"ModuleNotFoundError|No module named|ImportError|not installed|pip install |requires the \S+ (package"
                r"|library)"),
    ("hub_unreachable", r"could not be fetched|HF_ENDPOINT|LocalEntryNotFound|ConnectionError|Max retries exceeded"
                        r"|Name or service not known|Temporary failure in name resolution|HfHubHTTPError"),
    ("missing_file", r"no model folder|no dataset folder|[Nn]o such file or directory|there is none at|no file fits"
                     r"|file_name: .*(no such|there is no)|is missing\b.*(data|file)|must be an existing folder"
                     r"|No dataset of|FileNotFoundError|does not exist|holds no data file"),
    ("template", r"chat template|--template\b|\btemplate must\b|default_system must|enable_thinking must"),
    ("bad_row", r"\brows? \d|\bline \d+: the (row|object|JSON)|rows? (are|were|is|was) refused|bad rows"),
    ("bad_argument", r"^--\w|leads outside the folders"
                     r"|^there is no such (argument|flag|verb)|there is no such verb|^studio \w+ (needs|takes)"
                     r"|stands where a flag must stand|^transformers does not take|Did you mean --"),
    ("model", r"needs a tokenizer;|must be a SentencePiece model"),
    ("dataset", r"dataset|dataset_info\.json|\.jsonl?\b|\.csv\b|\.parquet\b"),
    ("model", r"\bmodel\b|\badapters?\b|tokenizer|weights|safetensors|pickle|config\.json|git-LFS|--convert_pickle"),
)  # fmt: skip
# Words of these stand in many a line that is no error.
_VAGUE = ("template", "bad_row", "bad_argument", "dataset", "model")
_CERTAIN = tuple(kind for kind, _ in _PROOFS if kind not in _VAGUE)
_TESTS = tuple((kind, re.compile(proof)) for kind, proof in _PROOFS)


def classify(exit_code: int, signal: int, log_tail: str, wish: str = "", *, oom_kills: int = 0) -> Failure:
    """What an ended command died of.

    `log_tail` is the end of what it said in this attempt; `wish` what somebody had asked of it;
    `oom_kills` how many processes the kernel ended for want of memory meanwhile (see `oom_kills`).
    """
    if exit_code > 128 and exit_code != INTERRUPTED and not signal:
        signal = exit_code - 128  # as shells and torchrun tell of it
    lines = readable(log_tail).splitlines()[-_LINES:]
    if wish == "kill" and signal:
        return of_kind("killed_on_request", _signal_line(signal))
    asked = signal in (signals.SIGTERM, signals.SIGINT) or exit_code in (14, INTERRUPTED)
    if wish in ("stop", "pause") and asked:
        return of_kind("stopped", _last(lines))
    if signal:
        return _by_signal(signal, lines, oom_kills)
    if fixed := _BY_CODE.get(exit_code):
        kind, line = _proof(lines, fixed)
        return of_kind(kind or fixed[0], line or _last(lines))
    # A sentence of ours stands at the very end; in anything else only what is beyond doubt counts.
    ours = exit_code in (10, *_BY_CODE)
    kind, line = _proof(lines if ours else _after_traceback(lines), () if ours else _CERTAIN)
    if kind:
        return of_kind(kind, line)
    if ours and (told := _last(lines)):
        return of_kind("refused", told)
    said = [bare.strip() for bare in (_STAMP.sub("", line) for line in lines) if not _EMPTY.match(bare)]
    return of_kind("unknown", "\n".join(said[-UNKNOWN_LINES:]))


def of_kind(kind: str, evidence: str = "") -> Failure:
    """The failure of a kind; one that is not known here counts as unknown."""
    kind = kind if kind in KINDS else "unknown"
    cause, remedy = KINDS[kind]
    return Failure(kind, cause, evidence[:_SHOWN], remedy)


def readable(text: str) -> str:
    """Log text without colours, what a bar wrote over, other control characters and keys of accounts."""
    plain = _OVERWRITTEN.sub("", _TERMINAL.sub("", text.replace("\r\n", "\n")))
    shown = "".join(mark for mark in plain if mark in "\n\t" or mark.isprintable())
    return _SECRET.sub(r"\1…", shown)


def last_line(log: str) -> str:
    """The last line of a log that says something."""
    return _last(readable(log).splitlines()[-_LINES:])


def oom_kills() -> int:
    """How many processes the kernel has ended for want of memory since it started; 0 where it does not tell."""
    for path, name in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            lines = Path(path).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def _by_signal(signal: int, lines: list[str], oom: int) -> Failure:
    name = _signal_line(signal)
    kind, line = _proof(lines[-20:], ("out_of_memory_host", "out_of_memory_device"))
    if kind or (oom and signal == signals.SIGKILL):
        told = f"{name}; the kernel ended a process for want of memory meanwhile"
        return of_kind(kind or "out_of_memory_host", line or told)
    crashed = any(mark in name for mark in _CRASHES)
    return of_kind("crashed" if crashed else "killed", name)


def _signal_line(number: int) -> str:
    try:
        return f"ended by signal {number} ({signals.Signals(number).name})"
    except ValueError:
        return f"ended by signal {number}"


def _proof(lines: list[str], kinds: tuple[str, ...] = ()) -> tuple[str, str]:
    """The last line that proves one of these kinds (of all, when none is named), and which."""
    for line in reversed(lines):
        bare = _STAMP.sub("", line)
        if _EMPTY.match(bare):
            continue
        ours = _QUOTED.sub("''", bare)
        for kind, test in _TESTS:
            if (not kinds or kind in kinds) and test.search(ours):
                return kind, bare.strip()
    return "", ""


def _after_traceback(lines: list[str]) -> list[str]:
    """The lines from the last traceback on, or the last few where there is none."""
    starts = [number for number, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    return lines[starts[-1] :] if starts else lines[-20:]


def _last(lines: list[str]) -> str:
    """The last line that says something."""
    told = (bare for line in reversed(lines) if not _EMPTY.match(bare := _STAMP.sub("", line)))
    return next(told, "").strip()
