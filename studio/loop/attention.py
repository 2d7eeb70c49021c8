"""Attention over several documents laid end to end, each blind to the others.

Rows are never padded: a batch is one row of tokens with the documents' boundaries beside it
(`cu_seq_lens_q`, shape (documents + 1,), as variable-length attention kernels take it). Each
document gets its own causal attention, so the cost is the sum of the squares of their lengths and
no mask of the whole row is built.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "studio_documents"
# The name under which a tensor of boundaries carries its numbers.
NUMBERS = "studio_numbers"
# The CPU's bfloat16 kernel is slow on short documents: forward and backward of 9 heads take 2.7 ms for
# 100 tokens where plain products take 0.7 ms, 22 against 8 ms for 512. Longer ones would keep too much.
QUICK = 384


def document_attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BHTD: torch.Tensor,
    value_BHTD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cu_seq_lens_q: torch.Tensor | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each document. B is 1; H heads, T tokens, D head size.

    Returns (B, T, H, D). A sliding window shorter than a document gets a mask of its own. On a GPU in half
    precision one kernel takes all documents.
    """
    longest = kwargs.get("max_length_q")
    for name in ("cu_seq_lens_k", "max_length_q", "max_length_k", "is_causal"):
        kwargs.pop(name, None)
    if cu_seq_lens_q is not None and longest is not None and _at_once(query_BHTD, key_BHTD, kwargs):
        # Rotations make float32 of queries and keys where the weights are; attention itself is in half precision.
        parts = _Parts(*(part[0].transpose(0, 1).to(_dtype(part)) for part in (query_BHTD, key_BHTD, value_BHTD)))
        window = (-1 if sliding_window is None else sliding_window - 1, 0)
        return _one_kernel(parts, cu_seq_lens_q, longest, kwargs.get("scaling"), window)[None], None
    ends = [0, query_BHTD.shape[2]] if cu_seq_lens_q is None else _numbers(cu_seq_lens_q)
    outputs = []
    for start, end in pairwise(ends):
        part = slice(start, end)
        mask = _window(end - start, sliding_window, query_BHTD.device)
        query, key, value = query_BHTD[:, :, part], key_BHTD[:, :, part], value_BHTD[:, :, part]
        if mask is None and _is_quick(query, kwargs):
            outputs.append(_quick(query, key, value, kwargs["scaling"]))
            continue
        output_BTHD, _ = sdpa_attention_forward(module, query, key, value, mask, is_causal=mask is None, **kwargs)
        outputs.append(output_BTHD)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), None


def _numbers(ends: torch.Tensor) -> list[int]:
    """The boundaries as numbers: those that `lengths` read once for all layers, else read from the device."""
    known: list[int] | None = vars(ends).get(NUMBERS)
    return ends.tolist() if known is None else known


def _at_once(query_BHTD: torch.Tensor, key_BGTD: torch.Tensor, kwargs: dict[str, Any]) -> bool:
    if not query_BHTD.is_cuda or kwargs.get("dropout") or (dtype := _dtype(query_BHTD)) == torch.float32:
        return False
    heads, size = query_BHTD.shape[1], query_BHTD.shape[3]
    return has_kernel(query_BHTD.device.index, dtype, heads, key_BGTD.shape[1], size)


def _dtype(part: torch.Tensor) -> torch.dtype:
    """The precision that attention is computed in on a GPU: that of autocast where it is on."""
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else part.dtype


class _Parts(NamedTuple):
    """Queries (T, H, D), keys and values (T, G, D) of documents end to end; G heads of keys are shared."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor


def _one_kernel(
    parts: _Parts, ends: torch.Tensor, longest: int, scaling: float | None, window: tuple[int, int]
) -> torch.Tensor:
    """Attention of all documents by torch's own flash attention; returns (T, H, D)."""
    from torch.nn.attention.varlen import varlen_attn  # loads torch's compiler, which takes seconds

    shared = parts.query.shape[1] != parts.key.shape[1]
    output = varlen_attn(*parts, ends, ends, longest, longest, scale=scaling, window_size=window, enable_gqa=shared)
    return cast(torch.Tensor, output)


def has_kernel(device: int, dtype: torch.dtype, heads: int, key_heads: int, size: int) -> bool:
    """Whether this GPU's kernel for these shapes gives, forward and backward, what plain attention gives.

    It is tried once, outside of what is compiled.
    """
    asked = (device, dtype, heads, key_heads, size)
    if asked not in _TRIED and not torch.compiler.is_compiling():
        _TRIED[asked] = _try(*asked)
    return _TRIED.get(asked, False)


_TRIED: dict[tuple[int, torch.dtype, int, int, int], bool] = {}


def _try(device: int, dtype: torch.dtype, heads: int, key_heads: int, size: int) -> bool:
    with torch.random.fork_rng(devices=[device]), torch.enable_grad(), torch.autocast("cuda", enabled=False):
        parts = _Parts(*(
            torch.randn(24, count, size, device=f"cuda:{device}", dtype=dtype).requires_grad_()
            for count in (heads, key_heads, key_heads)
        ))  # fmt: skip
        ends = torch.tensor([0, 7, 24], dtype=torch.int32, device=f"cuda:{device}")
        try:
            found_THD = _one_kernel(parts, ends, 17, None, (-1, 0))
            found = [found_THD, *torch.autograd.grad(found_THD.float().square().sum(), parts)]
        except (RuntimeError, TypeError, ValueError):
            return False  # an old card, or a head of a size that the kernel does not take
        whole = [part.detach().float().requires_grad_() for part in parts]
        plain_THD = torch.cat([_plain(*(part[start:end] for part in whole)) for start, end in ((0, 7), (7, 24))])
        plain = [plain_THD, *torch.autograd.grad(plain_THD.square().sum(), whole)]
    return all(
        bool((one.float() - other).abs().max() <= 5e-2 * other.abs().max().clamp(min=1.0))
        for one, other in zip(found, plain, strict=True)
    )


def _plain(query_THD: torch.Tensor, key_TGD: torch.Tensor, value_TGD: torch.Tensor) -> torch.Tensor:
    """Causal attention of one document, as it is written down."""
    shared = query_THD.shape[1] // key_TGD.shape[1]
    key_THD, value_THD = (part.repeat_interleave(shared, dim=1) for part in (key_TGD, value_TGD))
    scores_HTT = torch.einsum("thd,shd->hts", query_THD, key_THD) / query_THD.shape[-1] ** 0.5
    later_TT = torch.ones(scores_HTT.shape[1:], dtype=torch.bool, device=scores_HTT.device).triu(1)
    return torch.einsum("hts,shd->thd", scores_HTT.masked_fill(later_TT, float("-inf")).softmax(-1), value_THD)


def _is_quick(query_BHTD: torch.Tensor, kwargs: dict[str, Any]) -> bool:
    on_cpu = query_BHTD.device.type == "cpu" and query_BHTD.dtype == torch.bfloat16
    return on_cpu and query_BHTD.shape[2] <= QUICK and not kwargs.get("dropout") and bool(kwargs.get("scaling"))


def _quick(query_BHTD: torch.Tensor, key_BGTD: torch.Tensor, value_BGTD: torch.Tensor, scaling: float) -> torch.Tensor:
    """Causal attention of one short document by plain matrix products; G heads of keys, shared by queries.

    Rounds as transformers' eager attention does: scores and weights are bfloat16, the softmax float32.
    """
    heads, length = query_BHTD.shape[1:3]
    shared = heads // key_BGTD.shape[1]
    key_HTD = key_BGTD[0].repeat_interleave(shared, dim=0)
    value_HTD = value_BGTD[0].repeat_interleave(shared, dim=0)
    later_TT = torch.full((length, length), float("-inf"), dtype=query_BHTD.dtype).triu(1)
    scores_HTT = torch.baddbmm(
        later_TT.expand(heads, length, length), query_BHTD[0], key_HTD.transpose(1, 2), alpha=scaling
    )
    output_HTD = scores_HTT.softmax(dim=-1) @ value_HTD
    return output_HTD.transpose(0, 1)[None]


def _window(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    if window is None or length <= window:
        return None
    place = torch.arange(length, device=device)
    distance = place[:, None] - place[None, :]
    return ((distance >= 0) & (distance < window))[None, None]


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """The boundaries say everything; no mask is built."""


AttentionInterface.register(NAME, document_attention)
AttentionMaskInterface.register(NAME, _no_mask)


def choose_attention(model: PreTrainedModel, asked: str) -> tuple[str, str]:
    """Set the attention that keeps documents apart; return its name and the reason.

    Every candidate is tried on two short documents, together and apart: it is taken only when the
    results agree. "padded" means that none did, and rows are padded instead.
    """
    if asked in ("fa2", "fa3"):
        candidates = [model.config._attn_implementation]
    elif asked == "disabled":
        candidates = ["eager"]
    else:
        candidates = [NAME, "sdpa", "eager"]
    for name in candidates:
        # What plain scaled dot products are not enough for (sinks, biases), ours would drop too.
        if name in (NAME, "sdpa") and not model._supports_sdpa:
            continue
        model.set_attn_implementation(name)
        if keeps_documents_apart(model):
            return name, "documents in one row give what each gives alone" if asked == "auto" else "asked for"
    model.set_attn_implementation(candidates[-1])
    return "padded", "this model mixes documents that share a row, so each has a row of its own"


def keeps_documents_apart(model: PreTrainedModel) -> bool:
    """Whether two documents in one row give the logits that each gives alone, or the last states without a head."""
    from studio.loop.batch import flat_batch

    weight = cast(torch.nn.Embedding, model.get_input_embeddings()).weight
    # A weight that DeepSpeed divides keeps its shape beside.
    size, device = getattr(weight, "ds_shape", weight.shape)[0], weight.device
    first = [(7 * i + 3) % size for i in range(11)]
    second = [(5 * i + 1) % size for i in range(9)]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            together = _logits(model, flat_batch([first, second], [[True] * 11, [True] * 9]), device)
            apart = [_logits(model, flat_batch([ids], [[True] * len(ids)]), device) for ids in (first, second)]
    except (TypeError, ValueError, RuntimeError):
        # A model that refuses these inputs is one that cannot take documents in one row.
        return False
    finally:
        model.train(was_training)
    alone = torch.cat(apart, dim=1)
    scale = float(alone.abs().max())
    tolerance = 1e-4 if alone.dtype == torch.float32 else 5e-2
    return bool((together - alone).abs().max() <= tolerance * max(scale, 1.0))


def _logits(model: PreTrainedModel, batch: dict[str, torch.Tensor], device: torch.device) -> torch.Tensor:
    inputs = {name: value.to(device) for name, value in batch.items() if name != "labels"}
    # A classifier's logits are those of one place alone, so what lies under its head is looked at.
    inner = model.base_model if hasattr(model, "num_labels") and hasattr(model, "score") else model
    output = inner(**inputs, **lengths(inputs), use_cache=False)
    found: torch.Tensor = output.last_hidden_state if inner is not model else output.logits
    return found


def lengths(inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """What variable-length kernels want besides the boundaries of the queries."""
    if "cu_seq_lens_q" not in inputs:
        return {}
    ends = inputs["cu_seq_lens_q"]
    # Read from the device once for all layers; the tensor that these get carries its numbers.
    numbers = vars(ends)[NUMBERS] = ends.tolist()
    longest = max(end - start for start, end in pairwise(numbers))
    return {"cu_seq_lens_k": ends, "max_length_q": longest, "max_length_k": longest}
