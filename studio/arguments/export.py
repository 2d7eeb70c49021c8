"""Arguments of `studio export`: what is written where, and as which numbers."""

from __future__ import annotations

from studio.arguments.base import Text, arg
from studio.arguments.model import PrecisionArguments


class ExportArguments(PrecisionArguments):
    """How a model is merged and written."""

    export_dir: Text = arg("", level="basic")
    """The folder to write; it appears under this name only when it is complete."""

    export_size: float = arg(5.0, level="basic", gt=0)
    """The largest size of one weight file, in GB (10⁹ bytes)."""

    overwrite_export_dir: bool = arg(False)
    """Move a folder that already stands at export_dir aside to <name>.old-<time> instead of refusing."""

    convert_pickle: bool = arg(False)
    """Convert a folder whose weights are pickled (.bin, Meta's .pth) to safetensors, in a process of its own."""
