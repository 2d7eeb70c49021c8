"""Which rows: datasets from the registry, how much of them, and how long a row may be."""

from __future__ import annotations

from typing import Literal

from studio.arguments.base import Arguments, Names, Text, arg


class DataArguments(Arguments):
    """The rows of a command."""

    dataset: Names = arg((), level="basic")
    """Names of the datasets in `dataset_info.json` to train on; `mix_strategy` says in which shares."""

    eval_dataset: Names = arg((), level="basic")
    """Names of datasets to evaluate on."""

    train_file: Names = arg((), level="basic")
    """Files to train on without an entry in `dataset_info.json`; form and columns are recognised."""

    validation_file: Names = arg(())
    """Files to evaluate on without an entry."""

    dataset_dir: Text = arg("data")
    """Folder with the data files; a `dataset_info.json` inside it is read too."""

    mix_strategy: Literal["concat", "interleave_under", "interleave_over", "interleave_once"] = arg("concat")
    """What an epoch has of several datasets: every row once (concat, interleave_once), or draws until the first
    (interleave_under) or every one (interleave_over; short ones repeat) has given all its rows."""

    interleave_probs: Names = arg(())
    """How likely the next row comes from each dataset, such as `0.7,0.3`; else they take turns."""

    sample_policy_file: Text = arg("")
    """A JSON file, `{"source": share of all bytes}`: how much of each dataset or file one epoch has."""

    streaming: bool = arg(False)
    """Read rows while training in place of turning all of them into tokens first; needs max_steps."""

    buffer_size: int = arg(16384, ge=1, le=10**7)
    """Rows that streaming shuffles together; 1 keeps their order."""

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
