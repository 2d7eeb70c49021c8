"""What must hold where rows are read while training."""

from __future__ import annotations

from studio.recipe import STAGES, Recipe, rule


@rule("stage", "streaming")
def _a_stage_that_streams(recipe: Recipe) -> str | None:
    if not recipe.data.streaming or recipe.way.streams:
        return None
    able = " and ".join(name for name in STAGES if STAGES[name].streams)
    return (
        f"--streaming True: --stage {recipe.stage} needs all of its rows before it begins, to pair, weigh or ask them; "
        f"only {able} stream. Leave it out."
    )


@rule("streaming", "buffer_size", "train_sampling_strategy")
def _a_buffer_that_is_used(recipe: Recipe) -> str | None:
    if "buffer_size" not in recipe.changes():
        return None
    size = recipe.data.buffer_size
    if not recipe.data.streaming:
        return (
            f"--buffer_size {size}: only used with --streaming True; without it all rows are shuffled together. Leave "
            "it out."
        )
    if size > 1 and recipe.flat()["train_sampling_strategy"] == "sequential":
        return (
            f"--buffer_size {size} shuffles rows, and --train_sampling_strategy sequential keeps their order. Leave "
            "one of them out."
        )
    return None


@rule("streaming", "max_steps", "do_train")
def _a_stream_has_an_end(recipe: Recipe) -> str | None:
    if not recipe.data.streaming:
        return None
    if not recipe.training.do_train:
        return "--streaming True: with --do_train False nothing is streamed. Leave it out."
    if recipe.training.max_steps > 0:
        return None
    return (
        "--streaming True: needs --max_steps, since nobody has counted the rows of a stream, and so the steps of "
        "--num_train_epochs. Rows times passes, divided by the rows of a step, is the number to write."
    )


@rule("streaming", "val_size")
def _held_out_rows_have_a_name(recipe: Recipe) -> str | None:
    if not recipe.data.streaming or not recipe.data.val_size:
        return None
    return (
        f"--val_size {recipe.data.val_size:g}: rows are held out by chance from all of them, and a stream has none but "
        "the next ones. Name the rows to evaluate on with --eval_dataset or --validation_file; they are kept in memory."
    )


@rule("streaming", "save_strategy", "eval_strategy", "logging_strategy")
def _steps_in_place_of_epochs(recipe: Recipe) -> str | None:
    if not recipe.data.streaming:
        return None
    values = recipe.flat()
    names = ("save_strategy", "eval_strategy", "logging_strategy")
    asked = [f"--{name} epoch" for name in names if values.get(name) == "epoch"]
    if not asked:
        return None
    return f"{' and '.join(asked)}: where a stream's rows end is known when it comes. Use steps."


@rule("streaming", "dataloader_num_workers")
def _one_reader(recipe: Recipe) -> str | None:
    workers = recipe.flat()["dataloader_num_workers"]
    if not recipe.data.streaming or workers <= 1:
        return None
    return (
        f"--dataloader_num_workers {workers}: a stream has one reader in each process, or its order would depend on "
        "them. Use 1, which reads ahead, or 0."
    )
