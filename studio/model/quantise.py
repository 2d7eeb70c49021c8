"""A base held in 4 or 8 bits by bitsandbytes: how it is rounded, whether it can be, and what to see to.

Only linear layers are rounded. Embeddings, the head, norms, biases and experts (which are no layers)
stay in the precision of the run, and adapters learn in float32 beside them, as on any other base.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studio.arguments.model import ModelArguments
from studio.errors import ModelError
from studio.model.adapt import NOT_LINEAR
from studio.model.hardware import Hardware
from studio.model.weights import Tensor

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig

# bitsandbytes keeps one scale for this many numbers of 4 bits, and 256 of them when they are rounded too.
BLOCK, BLOCK_OF_SCALES = 64, 256
# The CPU's fast kernel for 4 bits takes only matrices that these divide.
PACKED_OUTPUTS, PACKED_INPUTS = 32, BLOCK
# What bitsandbytes asks of an NVIDIA GPU (its README, 0.50).
LEAST_CAPABILITY = (6, 0)
PACKAGES = {"bnb": "bitsandbytes"}
WAY_OUT = "Name the model in full precision, and hold it in 4 bits with --quantization_bit 4."


@dataclass(frozen=True)
class Rounding:
    """How linear layers are held: in 4 bits (nf4 or fp4, with `double` its scales in 8), or int8."""

    bits: int
    numbers: Literal["nf4", "fp4", "int8"]
    double: bool = False
    method: Literal["bnb"] = "bnb"

    def __str__(self) -> str:
        return "int8" if self.bits == 8 else f"4-bit {self.numbers}{' with 8-bit scales' if self.double else ''}"

    def nbytes(self, shape: Sequence[int]) -> float:
        """Bytes of a matrix of this shape (outputs, inputs) with its scales."""
        count = math.prod(shape)
        if self.bits == 8:
            return count + 4 * shape[0]
        scale = 1 + 4 / BLOCK_OF_SCALES if self.double else 4
        return count / 2 + math.ceil(count / BLOCK) * scale

    def as_json(self) -> dict[str, Any]:
        """As run.json has it."""
        return asdict(self)


def rounding_of(asked: ModelArguments) -> Rounding | None:
    """What the arguments ask for; None is full precision. Raises ModelError for other bits than 4 and 8."""
    if asked.quantization_bit is None:
        return None
    if asked.quantization_bit not in (4, 8):
        raise ModelError(f"--quantization_bit {asked.quantization_bit}: must be 4 or 8, or left out.")
    if asked.quantization_bit == 8:
        return Rounding(8, "int8", method=asked.quantization_method)
    return Rounding(4, asked.quantization_type, asked.double_quantization, asked.quantization_method)


def rounding_in(config: Mapping[str, Any]) -> Rounding | None:
    """How the weights of a model folder are held, by its config.json; None when they are not rounded.

    Raises ModelError for weights rounded by anything but bitsandbytes.
    """
    stored = config.get("quantization_config")
    if not stored:
        return None
    if not isinstance(stored, Mapping):
        raise ModelError(f"quantization_config in config.json must be an object; it is {str(stored)[:40]!r}. {WAY_OUT}")
    method = str(stored.get("quant_method", "an unnamed method"))
    if method != "bitsandbytes":
        raise ModelError(f"the model's weights are quantised by {method}, which is not supported. {WAY_OUT}")
    if stored.get("load_in_8bit"):
        return Rounding(8, "int8")
    numbers: Literal["nf4", "fp4"] = "nf4" if stored.get("bnb_4bit_quant_type") == "nf4" else "fp4"
    return Rounding(4, numbers, bool(stored.get("bnb_4bit_use_double_quant")))


def rounding_recorded(adapter: Path) -> Rounding | None:
    """What the base was held in while this adapter learned, as its run recorded it."""
    run = adapter.parent if adapter.name.startswith("checkpoint-") else adapter
    try:
        found = json.loads((run / "run.json").read_text(encoding="utf-8"))["quantization"]
        return Rounding(int(found["bits"]), found["numbers"], bool(found["double"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def rounding_for(asked: ModelArguments, config: Mapping[str, Any]) -> Rounding | None:
    """How a base is held: as its folder holds it, else as asked; None is full precision.

    Raises ModelError when the two differ, or when it cannot be held so at all.
    """
    wanted, stored = rounding_of(asked), rounding_in(config)
    if wanted and stored and (wanted.bits, wanted.numbers) != (stored.bits, stored.numbers):
        raise ModelError(
            f"--quantization_bit {wanted.bits}: the model's folder holds {stored}, which cannot become {wanted}. "
            "Leave the bits out, or name the model in full precision."
        )
    return stored or wanted


def unusable(
    rounding: Rounding | None, hardware: Hardware, adapters: Sequence[Path], *, on_top: bool = False
) -> list[str]:
    """Why a base cannot be held so here, or not with these adapters, in sentences.

    All adapters but the last go into the base first; with a new one `on_top` all of them do.
    """
    if rounding is None:
        return []
    told = [_cannot_round(rounding, hardware)]
    if len(adapters) > (0 if on_top else 1):
        names = ",".join(str(folder) for folder in adapters)
        which = "they go" if on_top else "all but the last go"
        told.append(
            f"--adapter_name_or_path {names}: {which} into the base first, and a base in {rounding.bits} "
            "bits cannot take them without loss. Merge them all into a model with studio export, and train a new "
            "adapter on that."
        )
    return [sentence for sentence in told if sentence]


def _cannot_round(rounding: Rounding, hardware: Hardware) -> str:
    package = PACKAGES[rounding.method]
    if importlib.util.find_spec(package) is None:
        return (
            f"a base in {rounding.bits} bits needs the package {package}, which is not installed. "
            f"Install it (pip install {package}), or use the model in full precision."
        )
    if hardware.device == "cuda":
        import torch

        if torch.version.hip is None and (has := torch.cuda.get_device_capability()) < LEAST_CAPABILITY:
            needs, found = (".".join(map(str, each)) for each in (LEAST_CAPABILITY, has))
            return (
                f"a base in {rounding.bits} bits needs a GPU of compute capability {needs} or newer; {hardware.name} "
                f"has {found}. Use the model in full precision, or --use_cpu True."
            )
    return ""


def quantization(asked: ModelArguments, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """What transformers needs to hold linear layers as asked and compute in `dtype`; None: full precision."""
    rounding = rounding_of(asked)
    if rounding is None:
        return None
    from transformers import BitsAndBytesConfig

    if rounding.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=asked.llm_int8_threshold)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=rounding.numbers,
        bnb_4bit_use_double_quant=rounding.double,
        bnb_4bit_compute_dtype=dtype,
    )


def settle(model: Any, dtype: torch.dtype, *, learns: bool) -> None:
    """Let 4-bit layers compute in `dtype`, and keep bitsandbytes from two shortcuts it takes on the CPU.

    In a pass without gradients it repacks 4-bit weights for a kernel that has no backward: from then on
    hardly a gradient would come through the layer, without an error. A model that `learns` is never
    repacked; another one only where the kernel takes its shapes. And outside of training it rounds the
    activations of int8 layers, so that an evaluation would not measure what is trained. A model in full
    precision stays as it is.
    """
    if not is_rounded(model):
        return
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.compute_dtype, module.compute_type_is_set = dtype, True
            fits = module.out_features % PACKED_OUTPUTS == 0 and module.in_features % PACKED_INPUTS == 0
            module.support_avx512bf16_for_cpu &= fits and not learns
        elif learns and isinstance(module, Linear8bitLt) and module.weight.device.type == "cpu":
            module.train(True)
            # It has nothing else that the mode changes.
            module.train = functools.partial(_stay, module)  # type: ignore[method-assign]


def _stay(layer: Any, mode: bool = True) -> Any:
    """Leave the layer in its mode."""
    return layer


@contextlib.contextmanager
def steady(model: Any) -> Iterator[None]:
    """Within it, what an int8 layer makes of a token does not depend on the others of its batch.

    Elsewhere columns that hold an outlier are computed in float16, for all tokens of the batch.
    """
    states = [module.state for module in model.modules() if hasattr(getattr(module, "state", None), "threshold")]
    before = [state.threshold for state in states]
    for state in states:
        state.threshold = 0.0
    try:
        yield
    finally:
        for state, threshold in zip(states, before, strict=True):
            state.threshold = threshold


def is_rounded(model: Any) -> bool:
    """Whether bitsandbytes holds layers of this model."""
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))


def in_full(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Headers of a rounded folder as if it were not rounded: its weights in their true shapes, no scales."""
    whole = {name: tensor for name, tensor in weights.items() if not _beside_a_weight(name, weights)}
    for name, tensor in weights.items():
        weight, mark, _ = name.partition(".quant_state.bitsandbytes__")
        if mark and weight in whole:
            whole[weight] = replace(whole[weight], shape=_shape_told(tensor))
    return whole


def _shape_told(state: Tensor) -> tuple[int, ...]:
    try:
        with state.file.open("rb") as file:
            file.seek(state.start)
            return tuple(int(length) for length in json.loads(file.read(state.nbytes))["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{state.file} must say the shape of each weight, but {state.name} is damaged.") from error


def _beside_a_weight(name: str, weights: Mapping[str, Tensor]) -> bool:
    if name.endswith((".SCB", ".weight_format")):
        return True
    weight, mark, _ = name.partition(".weight.")
    return bool(mark) and f"{weight}.weight" in weights


def can_round(name: str) -> bool:
    """Whether the two-dimensional weight of this name is one that is rounded, and bitsandbytes is here to do it."""
    return not NOT_LINEAR.search(f".{name}") and importlib.util.find_spec("bitsandbytes") is not None


def error_of(rounding: Rounding, weight_OI: torch.Tensor) -> torch.Tensor:
    """By how much each number of a matrix moves when it is held so (float32, same shape)."""
    import bitsandbytes.functional as functional
    import torch

    again: torch.Tensor
    full = weight_OI.float()
    if rounding.bits == 8:
        rows, scale_O, _ = functional.int8_vectorwise_quant(full.to(torch.float16))
        again = functional.int8_vectorwise_dequant(rows, scale_O)
    else:
        packed, state = functional.quantize_4bit(
            full, quant_type=rounding.numbers, compress_statistics=rounding.double, blocksize=BLOCK
        )
        again = functional.dequantize_4bit(packed, state)
    return again.float() - full
