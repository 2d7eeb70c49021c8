"""Other names for what the studio has: one table, other name → our name, and how its values are written.

Names of earlier versions of transformers, of its example scripts, of trl, peft and bitsandbytes, and of the
training scripts that people bring. Each is accepted with a note. A name whose meaning is not exactly one of
ours stands in `refused` instead, and is answered there with what to write.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.arguments.refused import plain

NOTHING = ("none", "null", "")


@dataclass(frozen=True)
class Alias:
    """One other name for `ours`; where both names are the same, only its values have other words."""

    name: str
    ours: str
    words: Mapping[str, str]
    """How values are written here → how under our name; "" asks for nothing. Others go as they are."""
    remark: str
    share: bool
    """Whether the value is a share below 1, and beside a 0 under our name it still counts."""

    @property
    def is_flag(self) -> bool:
        """Whether it is true or false, whatever our argument takes."""
        return "true" in self.words

    def asks_nothing(self, value: Any) -> bool:
        """Whether the value leaves everything as it is."""
        return value is None or str(value).strip().lower() in NOTHING or self._word(value) == ""

    def read(self, value: Any) -> Any:
        """The value under our name."""
        return self._word(value) or value

    def complaint(self, value: Any) -> str:
        """What is wrong with the value before our argument sees it, or ''."""
        if self.is_flag and self._word(value) is None:
            return "must be true or false"
        if self.share and _number(value) >= 1:
            return f"must be a share below 1; a number of steps is written --{self.ours}"
        return ""

    def _word(self, value: Any) -> str | None:
        return {plain(word): ours for word, ours in self.words.items()}.get(plain(value))

    @property
    def rule(self) -> str:
        """How its values are read, in words."""
        parts = [f"{word} is {ours}" if ours else f"{word} asks for nothing" for word, ours in self.words.items()]
        return ", ".join([*parts, self.remark] if self.remark else parts)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _names(ours: str, names: str, words: str = "", remark: str = "", *, share: bool = False) -> list[Alias]:
    """Aliases of one argument; `words` are written `here=ours`, with blanks between."""
    read = dict(pair.split("=") for pair in words.split())
    return [Alias(name, ours, read, remark, share) for name in names.split()]


def _switch(ours: str, names: str, on: str, off: str = "") -> list[Alias]:
    """Aliases that are true or false where our argument has a word."""
    return _names(ours, names, f"true={on} false={off}")


_TABLE: list[list[Alias]] = [
    # Weights
    _names("model_name_or_path", "model model_id model_path base_model pretrained_model base_model_name_or_path "
           "pretrained_model_name_or_path"),
    _names("adapter_name_or_path", "adapter_path peft_path peft_model_path peft_model lora_model lora_path "
           "lora_weights"),
    _names("tokenizer_name_or_path", "tokenizer_path tokenizer_name tokenizer"),
    _names("flash_attn", "attn_implementation",
           "flash_attention_2=fa2 flash_attention_3=fa3 eager=disabled"),
    _names("flash_attn", "flash_attn", "flash_attention_2=fa2 flash_attention_3=fa3 eager=disabled"),
    _switch("flash_attn", "use_flash_attn use_flash_attention_2", "fa2"),
    _names("quantization_bit", "bits load_in_bits", "16= 32="),
    _switch("quantization_bit", "load_in_8bit", "8"),
    _switch("quantization_bit", "load_in_4bit use_qlora q_lora", "4"),
    _names("quantization_method", "quantization_method", "bitsandbytes=bnb"),
    _names("quantization_type", "quant_type bnb_4bit_quant_type"),
    _names("double_quantization", "double_quant use_nested_quant use_bnb_nested_quant bnb_4bit_use_double_quant"),
    # Method
    _switch("finetuning_type", "use_lora use_peft", "lora", "full"),
    _names("lora_rank", "r lora_r"),
    _names("lora_target", "target_modules lora_target_modules lora_trainable trainable"),
    _switch("lora_target", "lora_target_linear", "all"),
    _names("additional_target", "modules_to_save lora_modules_to_save"),
    _switch("use_liger_kernel", "enable_liger_kernel", "True"),
    # Rows
    _names("train_file", "train_files train_path train_data_file data_path"),
    _names("validation_file", "validation_files valid_file eval_file eval_files eval_data_file eval_data_path "
           "dev_path"),
    _names("cutoff_len", "block_size max_seq_length max_seq_len model_max_length sequence_len"),
    _names("max_samples", "max_train_samples", remark="of each dataset"),
    _names("val_size", "val_set_size"),
    _names("packing", "sample_packing"),
    _names("preprocessing_num_workers", "dataset_num_proc preprocessing_num_proc tokenize_num_workers"),
    _names("template", "template_name template_type prompt_template_name"),
    # The same text: ChatML without a system message of its own, with Qwen's tools.
    _names("template", "template", "qwen3_nothink=chatml"),
    _names("train_on_prompt", "train_on_inputs"),
    # The course of a run
    _names("stage", "task_type", "pretrain=pt causal_lm="),
    _names("stage", "stage", "pretrain=pt"),
    _names("output_dir", "work_dir"),
    _names("learning_rate", "lr"),
    _names("lr_scheduler_type", "lr_scheduler"),
    _names("num_train_epochs", "num_epochs epochs"),
    _names("per_device_train_batch_size", "per_gpu_train_batch_size micro_batch_size"),
    _names("per_device_eval_batch_size", "per_gpu_eval_batch_size"),
    _names("gradient_accumulation_steps", "accumulative_counts"),
    _names("warmup_steps", "warmup_ratio", "0=", "below 1 it is a share of all steps", share=True),
    _names("optim", "optimizer", "adamw_hf=adamw_torch"),
    _names("optim", "optim", "adamw_hf=adamw_torch"),
    _names("gradient_checkpointing", "activation_checkpointing"),
    _names("gradient_checkpointing_kwargs", "activation_checkpointing_kwargs"),
    _names("eval_strategy", "evaluation_strategy"),
    _names("early_stopping_steps", "early_stopping_patience"),
    _names("use_cpu", "no_cuda"),
    _names("deepspeed", "deepspeed_config deepspeed_config_file ds_config"),
    # Answers
    _names("max_new_tokens", "max_tokens max_completion_length"),
]  # fmt: skip


@functools.cache
def aliases() -> dict[str, Alias]:
    """Every other name."""
    found: dict[str, Alias] = {}
    for alias in (alias for row in _TABLE for alias in row):
        if alias.name in found:
            raise ValueError(f"{alias.name} is another name twice")
        found[alias.name] = alias
    return found
