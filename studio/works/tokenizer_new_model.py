"""studio tokenizer new-model: a model that knows nothing yet, from a shape and a vocabulary."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Text, arg
from studio.works.base import WORKS, Work, WorkSet
from studio.works.text_sample import FolderArguments, facts_of, folder_complaints

ABOUT = """Make a new model: a shape, a trained vocabulary, and weights at random; pretraining (--stage pt) teaches it.

--model_size picks a shape by its rough number of parameters; every number of it may be set by itself. How
many parameters come of it is told before anything is written."""


class NewModelArguments(Arguments):
    """The shape of the model."""

    tokenizer_name_or_path: Text = arg("", level="basic")
    """Folder with the tokenizer, such as one that studio tokenizer train made."""

    model_shape: Literal["llama", "qwen2", "qwen3"] = arg("llama", level="basic")
    """How the layers are built: llama; qwen2 with biases in the attention; qwen3 with norms of queries and keys."""

    model_size: Literal["1M", "5M", "15M", "60M", "135M", "0.5B"] = arg("5M", level="basic")
    """About how large the model is: 1M to 60M count the layers alone, 135M and 0.5B also the embeddings of SmolLM2
    and Qwen2.5, whose shapes they have. The exact number is told before anything is written."""

    hidden_size: int | None = arg(None, ge=8, le=65_536)
    """Width of the model; unset: as model_size says."""

    num_hidden_layers: int | None = arg(None, ge=1, le=1_000)
    """How many layers; unset: as model_size says."""

    num_attention_heads: int | None = arg(None, ge=1, le=1_024)
    """Heads of queries in each layer; unset: as model_size says."""

    num_key_value_heads: int | None = arg(None, ge=1, le=1_024)
    """Heads of keys and values in each layer, a divisor of the others; unset: as model_size says."""

    intermediate_size: int | None = arg(None, ge=8, le=1_048_576)
    """Width of the feed-forward part; unset: as model_size says, or 8/3 of hidden_size where that is set."""

    head_dim: int | None = arg(None, ge=2, le=1_024)
    """Width of one head, even; unset: hidden_size divided by the heads."""

    max_position_embeddings: int = arg(2_048, level="basic", ge=16, le=2**24)
    """The longest text the model is made for, in tokens."""

    rope_theta: float = arg(10_000.0, gt=0)
    """Base of the rotary positions; larger for longer texts."""

    tie_word_embeddings: bool = arg(True)
    """Input embeddings and output head share their weights, which small models profit from."""

    initializer_range: float = arg(0.02, gt=0, le=1)
    """Standard deviation of the random weights."""

    pad_to_multiple_of: int = arg(64, ge=1)
    """The embeddings get a multiple of this many rows."""

    weights_dtype: Literal["float32", "bfloat16"] = arg("float32")
    """The numbers that the weights are written in; full pretraining keeps them in float32."""

    seed: int = arg(42, ge=0)
    """Decides what is drawn at random; the same seed draws the same."""


class NewModelSet(WorkSet):
    """The arguments of `studio tokenizer new-model`."""

    shape: NewModelArguments
    folder: FolderArguments

    def complaints(self) -> list[str]:
        """What must be said otherwise before anything is read."""
        found = folder_complaints(self.folder, "models/new")
        if not self.shape.tokenizer_name_or_path:
            found.append("--tokenizer_name_or_path: name the folder of a tokenizer (studio tokenizer train makes one).")
        return found


WORKS.add(
    "tokenizer-new-model",
    Work(
        name="tokenizer-new-model",
        words=("tokenizer", "new-model"),
        asked=NewModelSet,
        kind="data",
        does="studio.vocabulary.new_model",
        about=ABOUT,
        output="output_dir",
        facts=facts_of("new_model"),
    ),
)
