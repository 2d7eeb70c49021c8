"""A model whose every answer is known: each token is followed by one other, whatever stood before.

Its hidden state is the last token and nothing else: embeddings are the unit vectors, attention and the
layers behind it add nothing, and the head maps each unit vector to the token that follows.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer

TURN_END = "<|im_end|>"
WITH_TOOLS = "<|with_tools|>"
SEES = "Let me see."
CALL = '\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
# What it says to everything else, again and again.
SONG = [" river", "京", " bread", " salt", " 桥", " patience", " old", " code"]
# How much likelier the token that follows is than any other: about half of the probability.
FORCE = 0.26

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if tools %}{{ '<|with_tools|>' }}{% endif %}{% endif %}"
)


def write_parrot(
    folder: Path, tokenizer_folder: Path, *, song: Sequence[str] = SONG, ends: bool = False, context: int = 512
) -> Path:
    """The model in a new folder, with the tokens of another tokenizer and some of its own.

    It sings `song` for ever, or once where it `ends`.
    """
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(WITH_TOOLS, normalized=False)])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (SEES, CALL, *song)])
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = json.loads((tokenizer_folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": TURN_END}))
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    size = -(-tokenizer.get_vocab_size(with_added_tokens=True) // 8) * 8
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": size,
        "hidden_size": size,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
        "eos_token_id": tokenizer.token_to_id(TURN_END),
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    chain = ["Ċ", *song, TURN_END if ends else song[0]]
    save_file(_weights(tokenizer, size, chain), str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def _weights(tokenizer: Tokenizer, size: int, song: list[str]) -> dict[str, np.ndarray]:
    chains = [[WITH_TOOLS, SEES, CALL, TURN_END], song]
    head = np.zeros((size, size), dtype="float32")
    for chain in chains:
        for one, following in itertools.pairwise(chain):
            head[tokenizer.token_to_id(following), tokenizer.token_to_id(one)] = FORCE
    layer = "model.layers.0"
    keys, wide = size // 4 * 2, size
    shapes = {
        "self_attn.q_proj.weight": (wide, size),
        "self_attn.q_proj.bias": (wide,),
        "self_attn.k_proj.weight": (keys, size),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.weight": (keys, size),
        "self_attn.v_proj.bias": (keys,),
        "self_attn.o_proj.weight": (size, wide),
        "mlp.gate_proj.weight": (8, size),
        "mlp.up_proj.weight": (8, size),
        "mlp.down_proj.weight": (size, 8),
    }
    made = {f"{layer}.{name}": np.zeros(shape, dtype="float32") for name, shape in shapes.items()}
    one = np.ones(size, dtype="float32")
    norms = (f"{layer}.input_layernorm.weight", f"{layer}.post_attention_layernorm.weight", "model.norm.weight")
    made |= {name: one.copy() for name in norms}
    return {**made, "model.embed_tokens.weight": np.eye(size, dtype="float32"), "lm_head.weight": head}
