"""Which weights: the base, its adapters, its tokenizer, and how attention is computed."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Names, Text, arg


class PrecisionArguments(Arguments):
    """The numbers of a model that is not trained; shared by the verbs that write or ask one."""

    infer_dtype: Literal["auto", "float32", "bfloat16", "float16"] = arg("auto")
    """Precision of the weights: what export writes (its merge is float32 in any case), what chat and api compute in.
    auto: that of the files; chat and api take float32 where the device does not compute it fast."""


class ModelArguments(Arguments):
    """The model a command starts from."""

    model_name_or_path: Text = arg("", level="basic")
    """Folder of the model (in `models/` or `saves/`, or anywhere), or its name on the hub."""

    adapter_name_or_path: Names = arg((), level="basic", methods=("lora",))
    """Folders of trained adapters to start from or to merge, in the order they are applied."""

    tokenizer_name_or_path: Text = arg("")
    """Folder of a tokenizer other than the model's own; its size must fit the embeddings."""

    model_revision: Text = arg("main")
    """Branch, tag or commit of a model on the hub, also of the base that a local adapter names there."""

    cache_dir: Text = arg("")
    """Where models from the hub are kept; empty means the hub's usual cache folder."""

    trust_remote_code: bool = arg(False)
    """Run Python code that the model's folder carries. Only for models whose code you have read."""

    flash_attn: Literal["auto", "disabled", "sdpa", "fa2", "fa3"] = arg("auto")
    """Attention kernel: auto takes what the device does best; disabled is the plain one."""

    quantization_bit: int | None = arg(None, level="basic", methods=("lora",))
    """Hold the base in 8 or 4 bits while an adapter learns (QLoRA); unset: in full precision."""

    quantization_method: Literal["bnb"] = arg("bnb", methods=("lora",))
    """The library that quantises: bnb is bitsandbytes."""

    quantization_type: Literal["nf4", "fp4"] = arg("nf4", methods=("lora",))
    """The numbers of 4 bits: nf4 suits weights that are normally distributed, fp4 is a plain float."""

    double_quantization: bool = arg(True, methods=("lora",))
    """With 4 bits: quantise the scales too, which saves about 0.4 bits a weight."""

    llm_int8_threshold: float = arg(6.0, methods=("lora",), ge=0, le=10_000)
    """With 8 bits: inputs larger than this are computed in 16 bits; 0 rounds all of them."""


class LearnerArguments(ModelArguments):
    """The model that a training starts from, and how it is made to fit the rows."""

    resize_vocab: bool = arg(False)
    """Give the model embeddings for every token of a larger tokenizer; the new ones learn."""

    rope_scaling: Literal["linear", "dynamic", "yarn", "llama3"] | None = arg(None)
    """Stretch the positions of the model for longer rows: yarn is the usual way."""

    rope_factor: float | None = arg(None, gt=1, le=10_000)
    """How much longer positions reach; unset: as far as cutoff_len needs, at least 2. Not an upstream name."""
