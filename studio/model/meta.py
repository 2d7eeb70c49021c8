"""A Llama as Meta gives it away (params.json, consolidated.*.pth), read as transformers names it.

With several files each holds a slice of every matrix, as the devices it was trained on did. Queries
and keys are stored for a rotation of neighbouring numbers there, and of halves in transformers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import ModelError

if TYPE_CHECKING:
    import torch

OUTER = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
INNER = {
    "attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
# Matrices whose input is split over the files; of the others it is the output.
SPLIT_INPUT = ("attention.wo", "feed_forward.w2")
# A table that follows from params.json; the first Llama has one in each layer too.
LEFT_OUT = "rope.freqs"
# Positions are in no file: what the releases with this rotation were trained for.
POSITIONS = {10_000.0: 4096, 500_000.0: 8192, 1_000_000.0: 16_384}


class Params:
    """params.json, checked."""

    def __init__(self, folder: Path) -> None:
        path = folder / "params.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self.width, self.layers, self.heads = (int(found[key]) for key in ("dim", "n_layers", "n_heads"))
            self.key_heads = int(found.get("n_kv_heads") or self.heads)
            self.eps, self.theta = float(found["norm_eps"]), float(found.get("rope_theta") or 10_000.0)
            self.scaled = bool(found.get("use_scaled_rope"))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ModelError(
                f"{path} must be JSON with dim, n_layers, n_heads and norm_eps; it is not ({error!r}). "
                "Get the file anew."
            ) from None
        if min(self.width, self.layers, self.heads, self.key_heads) < 1 or self.width % (2 * self.heads):
            raise ModelError(f"{path} must give whole heads; dim {self.width} does not go into {self.heads} of them.")


def new_name(name: str) -> str:
    """The name in transformers; '' for what it has no use for. Raises ModelError for a name of no Llama."""
    if name.endswith(LEFT_OUT):
        return ""
    if name in OUTER:
        return OUTER[name]
    found = re.fullmatch(r"layers\.(\d+)\.(.+)\.weight", name)
    if found is None or found[2] not in INNER:
        raise ModelError(
            f"only Llama 1 to 3 are known in Meta's form; the file holds {name!r}, which none of them has. "
            "Take the model in the form of transformers."
        )
    return f"model.layers.{found[1]}.{INNER[found[2]]}.weight"


def whole(name: str, parts: Sequence[torch.Tensor], params: Params) -> torch.Tensor:
    """One weight out of its slices, one of each file, with queries and keys in transformers' order."""
    import torch

    stem = name.removesuffix(".weight").partition("layers.")[2].partition(".")[2]
    if len(parts) == 1 or parts[0].dim() == 1:
        joined = parts[0]
    elif name == "tok_embeddings.weight":
        joined = torch.cat(list(parts), dim=0 if parts[0].shape[1] == params.width else 1)
    else:
        joined = torch.cat(list(parts), dim=1 if stem in SPLIT_INPUT else 0)
    if stem in ("attention.wq", "attention.wk"):
        heads = params.heads if stem.endswith("q") else params.key_heads
        rows = params.width // params.heads * heads
        if joined.shape != (rows, params.width):
            raise ModelError(
                f"{name} must be {[rows, params.width]} by params.json; the files together hold "
                f"{list(joined.shape)}. A file is missing, or belongs to another model."
            )
        joined = joined.view(heads, -1, 2, params.width).transpose(1, 2).reshape(rows, params.width)
    return joined


def config(params: Params, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> tuple[dict[str, Any], list[str]]:
    """config.json for transformers, and notes on what had to be assumed. `shapes` go by the new names."""
    made: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "vocab_size": shapes["model.embed_tokens.weight"][0], "hidden_size": params.width,
        "intermediate_size": shapes["model.layers.0.mlp.gate_proj.weight"][0], "num_hidden_layers": params.layers,
        "num_attention_heads": params.heads, "num_key_value_heads": params.key_heads, "rms_norm_eps": params.eps,
        "rope_theta": params.theta, "attention_bias": False, "mlp_bias": False, "dtype": dtype,
        "tie_word_embeddings": "lm_head.weight" not in shapes,
    }  # fmt: skip
    positions = POSITIONS.get(params.theta, 4096)
    if params.theta == 10_000.0 and params.eps < 5e-6:
        positions = 2048  # the first Llama
    if params.scaled:
        positions = 131_072
        # The small ones of release 3.2 stretch more than those of 3.1.
        factor = 32.0 if params.width in (2048, 3072) else 8.0
        made["rope_scaling"] = {
            "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }  # fmt: skip
    made["max_position_embeddings"] = positions
    begin, end = (128_000, 128_001) if made["vocab_size"] >= 128_000 else (1, 2)
    made |= {"bos_token_id": begin, "eos_token_id": end}
    note = f"Meta's files do not say the longest text: max_position_embeddings is set to {positions:,} in config.json"
    return made, [note]


def tokenizer_config(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """tokenizer_config.json for Meta's tokenizer.model, and notes. None when it has none that is known here."""
    path = folder / "tokenizer.model"
    if not path.is_file() or (folder / "tokenizer_config.json").is_file():
        return None, []
    with path.open("rb") as file:
        start = file.readline(200)
    if re.fullmatch(rb"[A-Za-z0-9+/=]+ \d+\r?\n", start):
        return None, [
            "tokenizer.model is a list for tiktoken, which is not converted: put tokenizer.json and "
            "tokenizer_config.json of the same release into the new folder, or name their folder with "
            "--tokenizer_name_or_path"
        ]
    return {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False,
    }, []  # fmt: skip
