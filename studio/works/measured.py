"""Which models an evaluation measures, and where its numbers go; shared by the verbs of `studio eval`."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Names, Text, arg


class MeasuredArguments(Arguments):
    """What is measured beside the model that is named."""

    checkpoints: Names = arg((), level="basic")
    """Checkpoints of the run to measure too: all, or their steps (100,200). Empty: the final weights alone."""

    baseline_model: Text = arg("", level="basic")
    """The model to compare with. Empty: what the model came from, by the record of its run, adapter or export."""

    infer_dtype: Literal["auto", "float32", "bfloat16", "float16"] = arg("auto")
    """Precision of the weights; auto: that of the files, and float32 where the device does not compute it fast."""

    per_device_eval_batch_size: int = arg(8, ge=1, le=65536)
    """Rows in one forward pass when evaluating."""

    export: Names = arg(())
    """Files to write the numbers to as well: names that end in .csv (a line for each number) or .json (everything)."""

    overwrite_export: bool = arg(False)
    """Write over files of `export` that are there already."""
