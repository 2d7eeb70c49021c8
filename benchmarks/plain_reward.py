"""The same reward model as a person would write it with trl alone; `reward.py` starts it.

python plain_reward.py SETTINGS.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> None:
    """Train and leave the log history as progress.jsonl."""
    asked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = load_dataset("json", data_files=asked["plain_rows"], split="train")
    config = RewardConfig(
        output_dir=asked["output_dir"],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
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
    tokenizer = AutoTokenizer.from_pretrained(asked["model"])
    model = AutoModelForSequenceClassification.from_pretrained(asked["model"], num_labels=1, dtype="float32")
    model.config.pad_token_id = tokenizer.pad_token_id
    lora = LoraConfig(task_type="SEQ_CLS", r=asked["lora_rank"], lora_alpha=asked["lora_alpha"], target_modules=TARGETS)
    trainer = RewardTrainer(model=model, processing_class=tokenizer, args=config, train_dataset=rows, peft_config=lora)
    trainer.train()
    lines = [json.dumps(point) for point in trainer.state.log_history if "loss" in point]
    (Path(asked["output_dir"]) / "progress.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
