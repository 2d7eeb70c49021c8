"""What can only be known by trying: torch on each device, and 4-bit numbers. Run as a process of its own.

A driver that does not fit can end the process that uses it, so each step is told as soon as it is done.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

SIDE = 256
# A product of bfloat16 numbers near 1 is right to about 3 digits; 4 bits miss by about a tenth.
BF16_ERROR = 0.02
FOUR_BIT_ERROR = 0.15


def main() -> int:
    """Try everything; one JSON line for each step."""
    from studio.model.hardware import before_torch

    before_torch(os.environ)
    import torch

    build = torch.version.cuda or torch.version.hip or ""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    _tell(step="torch", version=str(torch.__version__), build=build, devices=count)
    devices = ["cpu", *(f"cuda:{number}" for number in range(count))]
    for device in devices:
        _tell(step="matmul", device=device, **_try(_matmul, device))
    _tell(step="bitsandbytes", device=devices[-1], **_try(_four_bits, devices[-1]))
    return 0


def _matmul(device: str) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    a, b = (torch.rand(SIDE, SIDE, dtype=torch.bfloat16, device=device) for _ in range(2))
    due = a.double().cpu() @ b.double().cpu()
    error = float(((a @ b).double().cpu() - due).abs().max() / due.abs().max())
    gpu = device != "cpu"
    return {
        "right": error < BF16_ERROR, "error": error,
        "name": torch.cuda.get_device_name(device) if gpu else "CPU",
        "fast_bf16": torch.cuda.get_device_capability(device) >= (8, 0) if gpu else True,
    }  # fmt: skip


def _four_bits(device: str) -> dict[str, Any]:
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    values = torch.linspace(-1, 1, SIDE * 64, device=device).reshape(SIDE, 64).to(torch.bfloat16)
    packed, state = quantize_4bit(values, quant_type="nf4", compress_statistics=True)
    error = float((dequantize_4bit(packed, state).float() - values.float()).abs().max())
    return {"right": error < FOUR_BIT_ERROR, "error": error}


def _try(what: Any, device: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = what(device)
        return found
    except Exception as error:  # noqa: BLE001  whatever a library or a driver raises is the answer
        return {"right": False, "said": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def _tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
