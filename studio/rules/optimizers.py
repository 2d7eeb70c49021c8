"""What must hold between an optimizer, the course of its rate, their settings, and what learns."""

from __future__ import annotations

from studio.arguments.upstream import upstream_fields
from studio.recipe import Recipe, rule
from studio.registry import did_you_mean

# Optimizers that do not read these two; upstream would drop them in silence.
WITHOUT_ARGS = ("adamw_torch", "adamw_torch_fused", "adafactor")
WITH_TARGETS = ("galore", "apollo")
# What --optim_args may say to these: the words they know, or () for a number. Other projections than APOLLO's "std"
# give scales of another shape than the gradients have.
_NUMBERS: dict[str, tuple[str, ...]] = {"rank": (), "update_proj_gap": (), "scale": ()}
SETTINGS = {
    "galore": _NUMBERS | {"proj_type": ("std", "reverse_std", "right", "left", "full")},
    "apollo": _NUMBERS | {"proj_type": ("std",), "proj": ("random", "svd"), "scale_type": ("channel", "tensor")},
}
# Arguments that upstream does not hand to them.
NOT_GIVEN = {
    "galore": ("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
    "apollo": ("weight_decay",),
}
# These change the weights while gradients are computed.
WITHIN_BACKWARD = ("lomo", "adalomo")
# Courses that upstream starts without a warmup, whatever is asked.
WITHOUT_WARMUP = ("constant", "reduce_lr_on_plateau", "greedy")
# What a course must be told, one of the names, and how that is written.
COURSE_NEEDS = {
    "warmup_stable_decay": (("num_decay_steps",), '{"num_decay_steps": 100}'),
    "cosine_with_min_lr": (("min_lr_rate", "min_lr"), '{"min_lr_rate": 0.1}'),
    "cosine_warmup_with_min_lr": (("min_lr_rate", "min_lr"), '{"min_lr_rate": 0.1}'),
}


@rule("lr_scheduler_type", "optim")
def _words_that_upstream_knows(recipe: Recipe) -> str | None:
    sentences = []
    for name in ("lr_scheduler_type", "optim"):
        value, choices = getattr(recipe.training, name), upstream_fields()[name]["choices"]
        if value not in choices:
            hint = did_you_mean(value, choices)
            sentences.append(f"--{name} {value}: must be one of {', '.join(choices)}.{hint}")
    return "\n".join(sentences) or None


@rule("optim")
def _one_set_of_weights(recipe: Recipe) -> str | None:
    if not recipe.training.optim.startswith("schedule_free_"):
        return None
    return (
        f"--optim {recipe.training.optim}: learns with other weights than it means to be measured and saved with, and "
        "the studio does not change between them. Use adamw_torch with --lr_scheduler_type constant_with_warmup."
    )


@rule("lr_scheduler_type", "eval_strategy", "val_size", "eval_dataset", "validation_file")
def _a_course_that_follows_the_loss(recipe: Recipe) -> str | None:
    training = recipe.training
    if training.lr_scheduler_type not in ("reduce_lr_on_plateau", "greedy") or training.eval_strategy != "no":
        return None
    return (
        f"--lr_scheduler_type {training.lr_scheduler_type}: follows the held-out loss. Give --eval_strategy steps, "
        "with --val_size 0.1, --eval_dataset or --validation_file."
    )


@rule("optim", "optim_args", "optim_target_modules")
def _the_optimizer_reads_its_settings(recipe: Recipe) -> str | None:
    optim, values = recipe.training.optim, recipe.flat()
    sentences = []
    if values["optim_args"] and optim in WITHOUT_ARGS:
        sentences.append(
            f"--optim_args: not used by --optim {optim}. Use --adam_beta1, --adam_beta2, --adam_epsilon, "
            "--weight_decay, or another optimizer."
        )
    if values["optim_target_modules"] and not optim.startswith(WITH_TARGETS):
        sentences.append(f"--optim_target_modules: not used by --optim {optim}, only by galore_… and apollo_….")
    return "\n".join(sentences) or None


@rule("optim", "optim_target_modules", "finetuning_type", "loraplus_lr_ratio")
def _an_optimizer_that_fits_what_learns(recipe: Recipe) -> str | None:
    optim, method = recipe.training.optim, recipe.method
    if optim.endswith("_layerwise"):
        whole = optim.removesuffix("_layerwise")
        return (
            f"--optim {optim}: steps within the backward pass and keeps its state where no checkpoint finds it, so a "
            f"run could not go on. Use --optim {whole}."
        )
    if not optim.startswith(WITH_TARGETS):
        return None
    if "8bit" in optim:
        return (
            f"--optim {optim}: keeps its projections where a checkpoint cannot bring them back, so a run could not go "
            f"on. Use --optim {optim.replace('_8bit', '')}."
        )
    if method.finetuning_type == "lora":
        return (
            f"--optim {optim}: projects the gradients of whole matrices, and an adapter's are small already. Use "
            "--finetuning_type full or freeze, or another optimizer."
        )
    if not recipe.flat()["optim_target_modules"]:
        return (
            f"--optim {optim}: needs the modules it works on. Add --optim_target_modules all-linear, or names such "
            "as attn,mlp."
        )
    return None


@rule("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon")
def _a_projection_with_its_settings(recipe: Recipe) -> str | None:
    optim, values, changes = recipe.training.optim, recipe.flat(), recipe.changes()
    if not optim.startswith(WITH_TARGETS):
        return None
    family = optim.partition("_")[0]
    names, sentences = SETTINGS[family], []
    for part in filter(None, str(values["optim_args"] or "").replace(" ", "").split(",")):
        name, _, value = part.partition("=")
        known = names.get(name, ())
        if name not in names:
            hint = did_you_mean(name, names)
            sentences.append(f"--optim_args {part}: {family} reads {', '.join(names)}, written as name=value.{hint}")
        elif (known and value not in known) or (not known and not _positive(value, whole=name != "scale")):
            must = f"one of {', '.join(known)}" if known else "a number above 0" + ", whole" * (name != "scale")
            sentences.append(f"--optim_args {part}: {name} must be {must}.")
    if unused := [f"--{name}" for name in NOT_GIVEN[family] if changes.get(name)]:
        sentences.append(f"{' and '.join(unused)}: not handed to --optim {optim} by transformers. Leave it out.")
    return "\n".join(sentences) or None


def _positive(text: str, *, whole: bool) -> bool:
    try:
        return (int(text) if whole else float(text)) > 0
    except ValueError:
        return False


@rule("optim", "deepspeed")
def _an_optimizer_that_can_be_divided(recipe: Recipe) -> str | None:
    optim = recipe.training.optim
    if not recipe.training.deepspeed or not optim.startswith((*WITH_TARGETS, *WITHIN_BACKWARD)):
        return None
    return (
        f"--optim {optim}: needs whole gradients, which --deepspeed divides. Use adamw_torch, or leave --deepspeed out."
    )


@rule("optim", "loraplus_lr_ratio")
def _an_optimizer_that_takes_groups(recipe: Recipe) -> str | None:
    optim = recipe.training.optim
    if recipe.method.loraplus_lr_ratio is None or not optim.startswith(WITHIN_BACKWARD):
        return None
    return (
        f"--optim {optim}: has one rate for all weights, and --loraplus_lr_ratio asks for two. Leave one of them out."
    )


@rule("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps")
def _a_course_with_its_settings(recipe: Recipe) -> str | None:
    kind, given = recipe.training.lr_scheduler_type, recipe.flat()["lr_scheduler_kwargs"] or {}
    names, example = COURSE_NEEDS.get(kind, ((), ""))
    if names and not any(name in given for name in names):
        return f"--lr_scheduler_type {kind}: needs {' or '.join(names)}. Add --lr_scheduler_kwargs '{example}'."
    if given and kind in ("constant", "constant_with_warmup"):
        return f"--lr_scheduler_kwargs: --lr_scheduler_type {kind} has no settings. Leave it out."
    if recipe.training.warmup_steps and kind in WITHOUT_WARMUP:
        other = "constant_with_warmup" if kind == "constant" else "another course"
        return (
            f"--warmup_steps {recipe.training.warmup_steps:g}: --lr_scheduler_type {kind} begins at its full height. "
            f"Leave it out, or use {other}."
        )
    return None
