"""The incumbent's way from a file to packed rows, run inside its own environment; prints one line of JSON.

    INCUMBENT/bin/python incumbent_rows.py FOLDER MODEL CUTOFF OUTPUT TEMPLATE

FOLDER has rows.jsonl and its dataset_info.json. Imports and the tokenizer's loading are outside of what is timed.
"""

from __future__ import annotations

import json
import os
import sys
import time


def cpu_s() -> float:
    """CPU seconds of this process and its children, of user and system."""
    return sum(os.times()[:4])


def main() -> None:
    """Load, convert, tokenise and pack; time each part."""
    folder, model, cutoff, output, template_name = sys.argv[1:6]
    from llamafactory.data import get_template_and_fix_tokenizer, loader
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    model_args, data_args, training_args, _, _ = get_train_args(
        {
            "stage": "sft", "do_train": True, "model_name_or_path": model, "dataset": "rows", "dataset_dir": folder,
            "template": template_name, "cutoff_len": int(cutoff), "packing": True, "neat_packing": True,
            "overwrite_cache": True, "preprocessing_num_workers": 1, "output_dir": output, "report_to": "none",
            "use_cpu": True, "bf16": False, "finetuning_type": "lora",
        }
    )  # fmt: skip
    module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(module["tokenizer"], data_args)
    start, wall = cpu_s(), time.monotonic()
    merged = loader._get_merged_dataset(data_args.dataset, model_args, data_args, training_args, "sft")
    read = cpu_s()
    packed = loader._get_preprocessed_dataset(merged, data_args, training_args, "sft", template, **module)
    end = cpu_s()
    tokens = sum(sum(mask > 0 for mask in row) for row in packed["attention_mask"])
    print(
        json.dumps(
            {"read_s": read - start, "pack_s": end - read, "wall_s": time.monotonic() - wall, "packs": len(packed),
             "tokens": tokens}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
