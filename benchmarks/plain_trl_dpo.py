"""The same DPO run as a person would write it with trl alone; `preference.py` starts it.

python plain_trl_dpo.py SETTINGS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


def main() -> None:
    """Train and leave the log history as progress.jsonl."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = load_dataset("json", data_files=asked["rows"], split="train")
    config = DPOConfig(
        output_dir=asked["output_dir"],
        use_cpu=True,
        bf16=asked["bf16"],
        gradient_checkpointing=asked["gradient_checkpointing"],
        max_length=asked["cutoff_len"],
        learning_rate=asked["learning_rate"],
        num_train_epochs=asked["num_train_epochs"],
        per_device_train_batch_size=asked["per_device_train_batch_size"],
        gradient_accumulation_steps=asked["gradient_accumulation_steps"],
        lr_scheduler_type="linear",
        optim="adamw_torch",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        seed=42,
    )
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(asked["model"], dtype="auto"),
        processing_class=AutoTokenizer.from_pretrained(asked["model"]),
        args=config,
        train_dataset=rows.select_columns(["prompt", "chosen", "rejected"]),
        peft_config=LoraConfig(r=asked["lora_rank"], lora_alpha=asked["lora_alpha"], target_modules="all-linear"),
    )
    trainer.train()
    lines = [json.dumps(point) for point in trainer.state.log_history if "loss" in point]
    (Path(asked["output_dir"]) / "progress.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
