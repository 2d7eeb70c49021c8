"""Arguments of `studio api` and of the engine that chat and API answer with."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Names, Object, Text, arg
from studio.arguments.model import PrecisionArguments


class EngineArguments(PrecisionArguments):
    """What computes the answers, and how many at once."""

    infer_backend: Literal["huggingface", "vllm"] = arg("huggingface", level="basic")
    """The engine: huggingface is the studio's own, on transformers; vllm needs the extra of that name and a GPU."""

    max_concurrent: int = arg(8, level="basic", ge=1, le=1024)
    """Answers that are computed together; more wait for their turn."""

    vllm_maxlen: int = arg(4096, ge=1)
    """With vllm: the most tokens of prompt and answer together."""

    vllm_gpu_util: float = arg(0.7, gt=0, le=1)
    """With vllm: the share of the GPU's memory that it takes."""

    vllm_enforce_eager: bool = arg(False)
    """With vllm: no CUDA graphs; slower, and it starts sooner."""

    vllm_max_lora_rank: int = arg(32, ge=1)
    """With vllm: the largest rank of an adapter."""

    vllm_config: Object = arg({})
    """With vllm: further settings of its engine, by their names there."""


class ServeArguments(Arguments):
    """Where the API is reached, and under which names."""

    host: Text = arg("127.0.0.1", level="basic")
    """Address to listen at. Another than this machine's own needs a key in STUDIO_API_KEY."""

    port: int = arg(8000, level="basic", ge=0, le=65535)
    """Port to listen at; 0 takes a free one."""

    served_model_name: Names = arg((), level="basic")
    """Names under which clients ask for the model; empty means the last part of its path."""

    public_host: Names = arg(())
    """Further host names under which clients reach the server, such as a proxy's or a container's."""

    root_path: Text = arg("")
    """The path in front of /v1 when a proxy passes it on, such as /proxy/8000."""

    max_waiting: int = arg(32, ge=0, le=100_000)
    """Requests that may wait for their turn; more are told to come again."""
