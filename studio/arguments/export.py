"""Arguments of `studio export`: what is written where, and as which numbers."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Text, arg


class ExportArguments(Arguments):
    """How a model is merged and written."""

    export_dir: Text = arg("", level="basic")
    """The folder to write; it appears under this name only when it is complete."""

    export_size: float = arg(5.0, level="basic", gt=0)
    """The largest size of one weight file, in GB (10⁹ bytes)."""

    infer_dtype: Literal["auto", "float32", "bfloat16", "float16"] = arg("auto")
    """What the weights are written as; auto: as the base stores them. The merge is float32 in any case."""

    overwrite_export_dir: bool = arg(False)
    """Move a folder that already stands at export_dir aside to <name>.old-<time> instead of refusing."""
