"""What must hold between arguments of different groups; every broken rule is told, all at once.

A rule is skipped when one of the arguments it looks at is wrong by itself.
"""

from __future__ import annotations

from studio.recipe import Recipe, arguments_of, rule


@rule("model_name_or_path")
def _model_is_named(recipe: Recipe) -> str | None:
    if recipe.model.model_name_or_path:
        return None
    return "--model_name_or_path must name a model folder or a hub model; it is empty."


@rule("dataset", "train_file", "sample_policy_file")
def _rows_are_named(recipe: Recipe) -> str | None:
    data = recipe.data
    if data.dataset or data.train_file or data.sample_policy_file or not recipe.training.do_train:
        return None
    return "--dataset must name at least one dataset of dataset_info.json, or --train_file a file; both are empty."


@rule("output_dir")
def _output_is_named(recipe: Recipe) -> str | None:
    if recipe.training.output_dir:
        return None
    return "--output_dir must name the folder of the run, such as saves/<model>/<method>/<run>; it is empty."


@rule("bf16", "fp16")
def _one_precision(recipe: Recipe) -> str | None:
    if recipe.training.bf16 and recipe.training.fp16:
        return "--bf16 True and --fp16 True exclude each other: keep one; bf16 is the safer one."
    return None


@rule("val_size", "eval_dataset", "validation_file")
def _one_source_of_held_out_rows(recipe: Recipe) -> str | None:
    data = recipe.data
    named = [f"--{name}" for name in ("eval_dataset", "validation_file") if getattr(data, name)]
    if data.val_size and named:
        return f"--val_size and {' and '.join(named)} exclude each other: hold rows out, or name those to evaluate on."
    return None


@rule("val_size", "eval_dataset", "validation_file", "eval_strategy", "load_best_model_at_end", "do_eval", "do_train",
      "eval_methods")  # fmt: skip
def _evaluation_has_rows(recipe: Recipe) -> str | None:
    if recipe.evaluates:
        return None
    training = recipe.training
    asking = {
        "--eval_strategy " + training.eval_strategy: training.eval_strategy != "no" and not training.eval_methods,
        "--load_best_model_at_end True": training.load_best_model_at_end,
        "--do_eval True": training.do_eval,
        "--do_train False": not training.do_train,
        "--early_stopping_steps": training.early_stopping_steps is not None,
        "--save_strategy best": training.save_strategy == "best",
        "--max_eval_samples": recipe.data.max_eval_samples is not None,
    }
    if wanting := [name for name, asked in asking.items() if asked]:
        return (
            f"{' and '.join(wanting)}: needs rows to evaluate on. Give --val_size 0.1, --eval_dataset or "
            "--validation_file."
        )
    return None


@rule("eval_methods", "stage", "deepspeed", "do_train")
def _methods_have_a_model_that_writes(recipe: Recipe) -> str | None:
    training = recipe.training
    if not training.eval_methods:
        return None
    named = f"--eval_methods {', '.join(training.eval_methods)}"
    if recipe.way.head != "tokens":
        return f"{named}: --stage {recipe.stage} learns to give scores, and these methods need a model that writes. " \
               "Leave it out."  # fmt: skip
    if training.deepspeed:
        return f"{named}: no process holds the whole model with --deepspeed. Measure the checkpoints with studio eval."
    if not training.do_train:
        return f"{named}: is for a run that learns. With --do_train False, use studio eval."
    return None


@rule("early_stopping_steps", "load_best_model_at_end", "eval_strategy")
def _early_stop_needs_measurements(recipe: Recipe) -> str | None:
    training = recipe.training
    if training.early_stopping_steps is None or not recipe.evaluates:
        return None
    if training.eval_strategy != "no" and training.load_best_model_at_end:
        return None
    return (
        f"--early_stopping_steps {training.early_stopping_steps}: needs --eval_strategy steps (or epoch) "
        "and --load_best_model_at_end True."
    )


@rule("stage", "metric_for_best_model")
def _known_metric(recipe: Recipe) -> str | None:
    metric, known = recipe.training.metric_for_best_model.removeprefix("eval_"), dict(recipe.way.metrics)
    if not metric or metric in known:
        return None
    return f"--metric_for_best_model {metric}: must be one of {', '.join(known)}."


@rule("stage", "packing", "neat_packing")
def _rows_that_may_share_a_sequence(recipe: Recipe) -> str | None:
    if not recipe.packing or recipe.way.packs:
        return None
    return (
        f"--packing True: --stage {recipe.stage} compares or scores whole rows, so none shares a sequence with others; "
        "they are laid end to end without padding anyway. Leave it out."
    )


@rule("packing", "neat_packing")
def _packing_is_said_once(recipe: Recipe) -> str | None:
    if recipe.data.neat_packing and recipe.data.packing is False:
        return "--packing False and --neat_packing True contradict each other: here both mean the same."
    return None


@rule("stage", "finetuning_type")
def _arguments_fit_stage_and_method(recipe: Recipe) -> str | None:
    changed = recipe.changes()
    sentences = []
    for name, argument in arguments_of(recipe.stage).items():
        if name not in changed:
            continue
        method = recipe.method.finetuning_type
        if argument.methods and method not in argument.methods:
            sentences.append(
                f"--{name}: only used by --finetuning_type {' or '.join(argument.methods)}, "
                f"but it is {method}. Leave it out or change the method."
            )
        if argument.stages and recipe.stage not in argument.stages:
            sentences.append(f"--{name}: not used by --stage {recipe.stage}. Leave it out.")
    return "\n".join(sentences) or None


@rule("max_steps")
def _some_steps(recipe: Recipe) -> str | None:
    if recipe.training.max_steps == 0:
        return "--max_steps 0: must be at least 1, or -1 to leave it to --num_train_epochs."
    return None


@rule("logging_steps", "save_steps", "eval_steps")
def _counted_steps_are_whole(recipe: Recipe) -> str | None:
    training = recipe.training
    asked = {
        "logging_steps": training.logging_steps,
        "save_steps": training.save_steps,
        "eval_steps": training.eval_steps,
    }
    sentences = [
        f"--{name} {value}: must be a whole number of steps, or below 1 for a share of all steps."
        for name, value in asked.items()
        if value is not None and value > 1 and value != int(value)
    ]
    return "\n".join(sentences) or None


@rule("load_best_model_at_end", "save_strategy", "eval_strategy", "save_steps", "eval_steps", "logging_steps")
def _the_best_is_measured_and_saved(recipe: Recipe) -> str | None:
    training = recipe.training
    wants = "--load_best_model_at_end True" if training.load_best_model_at_end else "--save_strategy best"
    if not recipe.evaluates or not (training.load_best_model_at_end or training.save_strategy == "best"):
        return None
    if training.eval_strategy == "no":
        return f"{wants}: needs --eval_strategy steps (or epoch), or nothing is compared."
    if training.save_strategy == "best":
        return None
    if training.eval_strategy != training.save_strategy:
        return (
            f"{wants}: --save_strategy {training.save_strategy} and --eval_strategy {training.eval_strategy} must "
            "be the same, so that what was measured is also saved; --save_strategy best does so too."
        )
    between, save = training.eval_steps or training.logging_steps, training.save_steps
    fits = (between < 1) == (save < 1) and round(save * 1e6) % max(round(between * 1e6), 1) == 0
    if training.save_strategy == "steps" and not fits:
        return f"{wants}: --save_steps {save:g} must be a multiple of --eval_steps {between:g}, so that they meet."
    return None


@rule("train_sampling_strategy", "packing", "neat_packing")
def _an_order_that_can_be_kept(recipe: Recipe) -> str | None:
    order = recipe.flat()["train_sampling_strategy"]
    if order in ("group_by_length", "batch_rebalance"):
        return (
            f"--train_sampling_strategy {order}: rows are laid end to end without padding, so sorting them by "
            "length saves nothing. Use random, or sequential."
        )
    if order == "sequential" and recipe.packing:
        return "--train_sampling_strategy sequential: packs mix rows from all places. Add --packing False."
    return None


@rule("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_persistent_workers")
def _workers_before_their_settings(recipe: Recipe) -> str | None:
    names = (
        "dataloader_prefetch_factor",
        "dataloader_persistent_workers",
        "dataloader_multiprocessing_context",
    )
    values = recipe.flat()
    asked = [f"--{name}" for name in names if values[name]]
    if asked and not values["dataloader_num_workers"]:
        return f"{' and '.join(asked)}: needs --dataloader_num_workers 1 or more; it is 0."
    return None
