"""What must be installed, and which device there must be, for what a command asks for."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from studio.model.hardware import Hardware
from studio.recipe import Recipe
from studio.registry import did_you_mean

# The trackers that transformers reports to.
TRACKERS = (
    "azure_ml", "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "flyte", "kubeflow", "mlflow", "neptune",
    "swanlab", "tensorboard", "trackio", "wandb",
)  # fmt: skip

# An optimizer, by the beginning of its name or the whole of it, the module it needs, and what installs that.
OPTIMIZERS = {
    "galore_": ("galore_torch", "galore-torch"),
    "apollo_": ("apollo_torch", "apollo-torch"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "adalomo": ("lomo_optim", "lomo-optim"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "stable_adamw": ("optimi", "torch-optimi"),
    "adamw_torch_4bit": ("torchao", "torchao"),
    "adamw_torch_8bit": ("torchao", "torchao"),
    "adamw_anyprecision": ("torchdistx", "git+https://github.com/pytorch/torchdistx"),
    "adamw_torch_xla": ("torch_xla", "torch_xla"),
    "adamw_torch_npu_fused": ("torch_npu", "torch-npu"),
    "ademamix": ("bitsandbytes", "bitsandbytes"),
    "lion_": ("bitsandbytes", "bitsandbytes"),
    "paged_": ("bitsandbytes", "bitsandbytes"),
    "rmsprop_bnb": ("bitsandbytes", "bitsandbytes"),
    "adamw_bnb_8bit": ("bitsandbytes", "bitsandbytes"),
    "adamw_8bit": ("bitsandbytes", "bitsandbytes"),
}
ATTENTION = {"fa2": ("flash_attn", "flash-attn"), "fa3": ("flash_attn_interface", "flash-attn-3")}


def installed(module: str) -> bool:
    """Whether a package is here to be imported."""
    return importlib.util.find_spec(module) is not None


def unusable_optimizer(optim: str) -> str | None:
    """The complaint about an optimizer whose package is not installed."""
    for beginning, (module, package) in OPTIMIZERS.items():
        if optim.startswith(beginning) and not installed(module):
            return (
                f"--optim {optim}: its package is not installed. Install it (pip install {package}), or use another "
                "optimizer, such as adamw_torch."
            )
    return None


def unusable_kernels(recipe: Recipe, hardware: Hardware) -> list[str]:
    """The complaints about fused kernels that this machine cannot run."""
    asked = []
    if (kernel := recipe.model.flash_attn) in ATTENTION:
        asked.append((f"--flash_attn {kernel}", *ATTENTION[kernel], "use --flash_attn auto, which takes sdpa"))
    if recipe.flat().get("use_liger_kernel"):
        asked.append(("--use_liger_kernel True", "liger_kernel", "liger-kernel", "leave it out"))
    told = []
    for flag, module, package, other in asked:
        if hardware.device != "cuda":
            told.append(f"{flag}: its kernels are made for a GPU, and this run is on the {hardware.device}: {other}.")
        elif not installed(module):
            told.append(f"{flag}: its package is not installed. Install it (pip install {package}), or {other}.")
    return told


def unusable_trackers(asked: Sequence[str]) -> list[str]:
    """The complaint about each tracker that is none, or whose package is not installed."""
    packages = {"tensorboard": ("tensorboard", "tensorboardX")}

    def usable(name: str) -> bool:
        return any(installed(package) for package in packages.get(name, (name,)))

    return [
        f"--report_to {name}: its package is not installed. Install it, or leave the tracker out."
        if name in TRACKERS
        else f"--report_to {name}: must be one of none, all, {', '.join(TRACKERS)}.{did_you_mean(name, TRACKERS)}"
        for name in asked
        if name not in ("none", "all") and not (name in TRACKERS and usable(name))
    ]
