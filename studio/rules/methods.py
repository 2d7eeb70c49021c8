"""What must hold between a method, how its base is held, and what it starts from."""

from __future__ import annotations

from studio.recipe import Recipe, rule


def goes_on(recipe: Recipe) -> bool:
    """Whether an adapter that was trained before goes on learning."""
    return bool(recipe.model.adapter_name_or_path) and not recipe.method.create_new_adapter


@rule("quantization_bit")
def _known_widths(recipe: Recipe) -> str | None:
    if recipe.model.quantization_bit in (None, 4, 8):
        return None
    return f"--quantization_bit {recipe.model.quantization_bit}: must be 4 or 8, or away for full precision."


@rule("quantization_bit", "quantization_type", "double_quantization", "llm_int8_threshold")
def _settings_of_so_many_bits(recipe: Recipe) -> str | None:
    changed, bits = recipe.changes(), recipe.model.quantization_bit
    sentences = []
    for width, names in ((4, ("quantization_type", "double_quantization")), (8, ("llm_int8_threshold",))):
        asked = [f"--{name}" for name in names if name in changed]
        if asked and bits != width:
            told = f"only used with --quantization_bit {width}. Leave it out, or add that."
            sentences.append(f"{' and '.join(asked)}: {told}")
    return "\n".join(sentences) or None


@rule("create_new_adapter", "adapter_name_or_path")
def _a_new_adapter_on_others(recipe: Recipe) -> str | None:
    if not recipe.method.create_new_adapter or recipe.model.adapter_name_or_path:
        return None
    return (
        "--create_new_adapter True: needs the adapters that go into the base first. Name them with "
        "--adapter_name_or_path, or leave it out: an adapter on the base alone is new anyway."
    )


@rule(
    "pissa_init",
    "pissa_iter",
    "use_dora",
    "adapter_name_or_path",
    "create_new_adapter",
    "quantization_bit",
    "deepspeed",
)
def _where_pissa_can_start(recipe: Recipe) -> str | None:
    method, model = recipe.method, recipe.model
    if not method.pissa_init:
        told = "only used with --pissa_init True. Leave it out, or add that."
        return f"--pissa_iter: {told}" if "pissa_iter" in recipe.changes() else None
    reasons = {
        "--use_dora True measures the length of the weights, which this start takes apart. Leave one of them out.":
            method.use_dora,
        "an adapter that goes on learning has started already. Leave it out, or add --create_new_adapter True.":
            goes_on(recipe),
        f"its start is a part of the weights, and --quantization_bit {model.quantization_bit} holds them rounded. "
        "Leave one of them out.": model.quantization_bit is not None,
        "--deepspeed divides the weights that it starts from. Leave one of them out.": bool(recipe.training.deepspeed),
    }  # fmt: skip
    return "\n".join(f"--pissa_init True: {told}" for told, holds in reasons.items() if holds) or None


@rule("resize_vocab", "quantization_bit", "adapter_name_or_path", "deepspeed")
def _where_a_vocabulary_can_grow(recipe: Recipe) -> str | None:
    model = recipe.model
    if not model.resize_vocab:
        return None
    reasons = {
        f"the embeddings of a base in {model.quantization_bit} bits cannot grow. Leave --quantization_bit out.":
            model.quantization_bit is not None,
        "the adapters that are named know the vocabulary they learned with. Leave it out; or merge them with studio "
        "export, and train the export.": bool(model.adapter_name_or_path),
        "--deepspeed divides the embeddings before they could grow. Leave one of them out.":
            bool(recipe.training.deepspeed),
    }  # fmt: skip
    return "\n".join(f"--resize_vocab True: {told}" for told, holds in reasons.items() if holds) or None


@rule("rope_scaling", "rope_factor")
def _a_factor_of_something(recipe: Recipe) -> str | None:
    if recipe.model.rope_factor is None or recipe.model.rope_scaling is not None:
        return None
    return "--rope_factor: only used with --rope_scaling. Add --rope_scaling yarn, or leave it out."


@rule("use_dora", "lora_bias")
def _dora_has_no_bias(recipe: Recipe) -> str | None:
    if not (recipe.method.use_dora and recipe.method.lora_bias):
        return None
    return (
        "--use_dora True and --lora_bias True exclude each other: DoRA scales the whole output. Leave one of them out."
    )


@rule("trainable_token_indices", "resize_vocab", "additional_target", "lora_target")
def _rows_that_learn_alone(recipe: Recipe) -> str | None:
    method = recipe.method
    if not method.trainable_token_indices:
        return None
    ends = {"embed_tokens", "lm_head", "wte", "embed_in", "embed_out", "word_embeddings"}
    whole = sorted(ends & {name.rpartition(".")[2] for name in method.additional_target})
    both = sorted(ends & {name.rpartition(".")[2] for name in method.lora_target})
    reasons = {
        "--resize_vocab True learns all embeddings. Extend the vocabulary first with studio tokenizer extend, or leave "
        "one of them out.": recipe.model.resize_vocab,
        f"--additional_target {','.join(whole)} learns every row. Leave one of them out.": bool(whole),
        f"--lora_target {','.join(both)} puts an adapter on the same weights. Leave one of them out.": bool(both),
    }
    return "\n".join(f"--trainable_token_indices: {told}" for told, holds in reasons.items() if holds) or None
