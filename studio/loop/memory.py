"""Memory that runs out: how it is known, what is let go, and what to say where nothing is left to halve."""

from __future__ import annotations

import gc
import random
from typing import Any

import numpy as np
import torch

# What torch's allocators for the processor say; those of devices have a class of their own.
_WORDS = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
ERRORS = (torch.OutOfMemoryError, MemoryError, RuntimeError)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a device or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def evidence(error: BaseException) -> str:
    """The beginning of what it said, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def let_go() -> None:
    """Give back what nothing refers to any more: of a step that broke off, and what the allocator keeps."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def full(said: str, asked: int, size: int | None = None) -> str:
    """The sentence to end with. `size` is the micro-batch that did not fit either; None where none was halved."""
    then = "--cutoff_len, then --gradient_checkpointing True, then --quantization_bit 4."
    if size is not None and size < asked:
        tried = f"although --per_device_train_batch_size {asked} was taken {size} at a time"
        return f"memory ran out while training ({said}), {tried}. Lower {then}"
    if asked > 1 and size is None:
        halve = "Halve --per_device_train_batch_size and double --gradient_accumulation_steps"
        return f"memory ran out while training ({said}). {halve}, then lower {then}"
    return f"memory ran out while training ({said}) with --per_device_train_batch_size {asked}. Lower {then}"


def full_of_answers(said: str) -> str:
    """The sentence to end with where the model writes the answers itself."""
    return (
        f"memory ran out while answers were written or learned from ({said}). Lower --max_new_tokens, then how many "
        "answers a step writes together (--per_device_train_batch_size times --gradient_accumulation_steps, with "
        "--stage ppo times --ppo_buffer_size), then --gradient_checkpointing True, then --quantization_bit 4."
    )


def random_state() -> tuple[Any, ...]:
    """Where every source of random numbers stands."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def set_random_state(state: tuple[Any, ...]) -> None:
    """Put every source of random numbers back to where it stood."""
    python, numpy, cpu, cuda = state
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
