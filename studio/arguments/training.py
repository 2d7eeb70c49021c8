"""How the learning goes: rate, length, batch, precision, evaluating, saving, logging.

Names, types and meanings are those of `transformers.TrainingArguments`; its other fields are
accepted too, from `upstream.json`. The few that are not upstream's say so.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from studio.arguments.base import Arguments, Names, Object, Text, arg

Strategy = Literal["no", "steps", "epoch"]


def _tokens_seen(value: Any) -> Any:
    # Older versions of upstream had a plain true or false here.
    words = {"true": "all", "1": "all", "false": "no", "0": "no"}
    return words.get(str(value).lower(), value)


TokensSeen = Annotated[bool | Literal["no", "all", "non_padding"], BeforeValidator(_tokens_seen)]


class TrainingArguments(Arguments):
    """The course of a run."""

    stage: Text = arg("sft", level="basic")
    """The way of learning: pt continues pretraining on texts, sft learns to answer, rm to judge answers; dpo and kto
    learn from judged answers, ppo, grpo and rloo from rewards for answers of their own."""

    do_train: bool = arg(True)
    """Train. Off, with rows to evaluate on: only evaluate."""

    output_dir: Text = arg("", level="basic")
    """Folder of the run, usually saves/<model>/<method>/<run>."""

    overwrite_output_dir: bool = arg(False)
    """Move a folder that is already there aside (it gets a date) and begin anew."""

    resume_from_checkpoint: Text = arg("")
    """A checkpoint folder of this run to go on from; empty means the newest good one."""

    learning_rate: float = arg(5e-5, level="basic", gt=0, le=10)
    """Highest learning rate; about 1e-4 suits LoRA, 1e-5 full training."""

    num_train_epochs: float = arg(3.0, level="basic", gt=0, le=100_000)
    """How often every row is seen."""

    max_steps: int = arg(-1, ge=-1, le=10**9)
    """Number of optimizer steps, instead of epochs; -1 leaves it to num_train_epochs."""

    per_device_train_batch_size: int = arg(8, level="basic", ge=1, le=65536)
    """Rows in one forward pass on one device."""

    gradient_accumulation_steps: int = arg(1, level="basic", ge=1, le=65536)
    """Forward passes summed before one optimizer step."""

    lr_scheduler_type: Text = arg("linear", level="basic")
    """Course of the learning rate: linear, cosine, constant, constant_with_warmup and others."""

    warmup_steps: float = arg(0, level="basic", ge=0, le=10**9)
    """Steps in which the rate rises from zero; below 1 a share of all steps."""

    optim: Text = arg("adamw_torch_fused")
    """Optimizer, by the name transformers gives it: adamw_torch, adafactor, sgd and others."""

    weight_decay: float = arg(0.0, ge=0, le=100)
    """Pull of the weights towards zero, apart from biases and norms."""

    max_grad_norm: float = arg(1.0, level="basic", ge=0)
    """Longest gradient; a longer one is shortened to it. 0 turns this off."""

    bf16: bool | None = arg(None, level="basic")
    """Compute in bfloat16. Unset: where the hardware does it fast; False: float32."""

    fp16: bool | None = arg(None)
    """Compute in float16; only on a GPU without bfloat16."""

    gradient_checkpointing: bool | None = arg(None)
    """Recompute activations to save memory, about a fifth slower. Unset: only where needed."""

    neftune_noise_alpha: float | None = arg(None, gt=0, le=10_000)
    """Noise added to the embeddings while training (NEFTune); 5 is usual."""

    logging_steps: float = arg(10, level="basic", gt=0, le=10**9)
    """Steps between two points of the curve; the first and the last are always there."""

    save_strategy: Literal["no", "steps", "epoch", "best"] = arg("steps")
    """When checkpoints are written."""

    save_steps: float = arg(500, level="basic", gt=0, le=10**9)
    """Steps between two checkpoints; below 1 a share of all steps."""

    save_total_limit: int | None = arg(None, ge=1, le=10**6)
    """Checkpoints kept, the newest ones (and the best); older ones go once a newer is whole."""

    save_only_model: bool = arg(False)
    """Checkpoints without optimizer state: smaller, but a run cannot go on from them."""

    do_eval: bool = arg(False)
    """Evaluate at the end; on by itself when rows to evaluate on are given."""

    eval_strategy: Strategy = arg("no", level="basic")
    """When the held-out loss is measured during training."""

    eval_steps: float | None = arg(None, gt=0, le=10**9)
    """Steps between two evaluations; unset means logging_steps."""

    per_device_eval_batch_size: int = arg(8, ge=1, le=65536)
    """Rows in one forward pass when evaluating."""

    load_best_model_at_end: bool = arg(False)
    """End with the checkpoint that was best on metric_for_best_model, not with the last."""

    metric_for_best_model: Text = arg("")
    """What best means on the held-out rows: loss or another measure of the stage; reward where answers are rewarded."""

    early_stopping_steps: int | None = arg(None, ge=1, le=10**6)
    """Stop after this many evaluations without a better one. Not an upstream name."""

    plot_loss: bool = arg(False, level="basic")
    """Draw the loss curve into the run's folder as a picture."""

    eval_methods: Object = arg({})
    """What else to measure while the model learns, at the start, at eval_steps and at the end. A name for each, with
    arguments of studio eval: {"ceval": {"method": "choice", "task_dir": "data/ceval"}}. Not an upstream name."""

    img_log_dir: Text = arg("")
    """A folder for pictures of the curves, drawn anew with each measurement of eval_methods and at the end. Empty: with
    plot_loss they are drawn into the run's folder. Not an upstream name."""

    report_to: Names = arg(("none",))
    """Trackers that get the curve: tensorboard, wandb, trackio, mlflow and others, or none."""

    include_num_input_tokens_seen: TokensSeen = arg("no")
    """Count the tokens learned from: all, or non_padding, which is the same here; no counts none."""

    seed: int = arg(42, level="basic", ge=0, le=2**32 - 1)
    """Start of all random numbers; the same seed gives the same run."""

    use_cpu: bool = arg(False)
    """Train on the CPU even when there is a GPU."""

    deepspeed: Text = arg("")
    """A DeepSpeed JSON file: ZeRO divides optimizer, gradients and weights among the processes."""
