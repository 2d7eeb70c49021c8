"""Which rows: datasets from the registry, how much of them, and how long a row may be."""

from __future__ import annotations

from studio.arguments.base import Arguments, Names, Text, arg


class DataArguments(Arguments):
    """The rows of a command."""

    dataset: Names = arg((), level="basic")
    """Names of the datasets in `dataset_info.json` to train on, one after the other."""

    eval_dataset: Names = arg((), level="basic")
    """Names of datasets to evaluate on."""

    train_file: Names = arg((), level="basic")
    """Files to train on without an entry in `dataset_info.json`; form and columns are recognised."""

    validation_file: Names = arg(())
    """Files to evaluate on without an entry."""

    dataset_dir: Text = arg("data")
    """Folder with the data files; a `dataset_info.json` inside it is read too."""

    cutoff_len: int = arg(2048, level="basic", ge=4, le=1 << 24)
    """Longest row in tokens; what is beyond is cut (stage pt: goes on in the next row)."""

    max_samples: int | None = arg(None, level="basic", ge=1, le=10**12)
    """At most this many rows of each dataset, the first ones."""

    max_eval_samples: int | None = arg(None, ge=1, le=10**12)
    """At most this many rows of each dataset to evaluate on, the first ones; of those val_size holds out, in all."""

    val_size: float = arg(0.0, level="basic", ge=0, le=10**12)
    """Rows held out for evaluation: below 1 a share, from 1 on a number of rows."""

    packing: bool | None = arg(None, level="basic")
    """Several rows in one sequence, each blind to the others; unset: on for pt, off for sft."""

    neat_packing: bool = arg(False)
    """The same as packing, which never lets rows see each other here."""

    skip_bad_rows: bool = arg(False)
    """Leave out rows that cannot be used, up to max_bad_rows, and list them; else stop at them."""

    max_bad_rows: float = arg(0.01, ge=0, le=10**12)
    """Most rows that skip_bad_rows may leave out: below 1 a share, from 1 on a number of rows."""

    preprocessing_num_workers: int | None = arg(None, ge=1, le=4096)
    """Threads that turn rows into tokens; more than the machine's cores are lowered to them."""

    overwrite_cache: bool = arg(False)
    """Turn rows into tokens again even when a kept result fits."""
