"""Commands and files as they stand in the examples of other programs, with their options in their order."""

from typing import Any

_COMMON = """
### output
output_dir: saves/qwen3-4b/lora/sft
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none  # choices: [none, wandb, tensorboard, swanlab, mlflow]

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
resume_from_checkpoint: null
"""

# LLaMA-Factory: examples/train_lora/qwen3_lora_sft.yaml
LORA_SFT = f"""### model
model_name_or_path: Qwen/Qwen3-4B-Instruct-2507
trust_remote_code: true

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset: identity,alpaca_en_demo
template: qwen3_nothink
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16
dataloader_num_workers: 4
{_COMMON}
### eval
# eval_dataset: alpaca_en_demo
# val_size: 0.1
# per_device_eval_batch_size: 1
# eval_strategy: steps
# eval_steps: 500
"""

# LLaMA-Factory: examples/train_lora/qwen3_lora_pretrain.yaml
LORA_PRETRAIN = LORA_SFT.replace("stage: sft", "stage: pt").replace(
    "dataset: identity,alpaca_en_demo\ntemplate: qwen3_nothink", "dataset: c4_demo"
)

# LLaMA-Factory: examples/train_qlora/qwen3_lora_sft_otfq.yaml
QLORA_SFT = LORA_SFT.replace(
    "trust_remote_code",
    "quantization_bit: 4  # choices: [8 (bnb/hqq/eetq), 4 (bnb/hqq), 3 (hqq), 2 (hqq)]\n"
    "quantization_method: bnb  # choices: [bnb, hqq, eetq]\ntrust_remote_code",
)

# LLaMA-Factory: examples/train_qlora/llama3_lora_sft_otfq.yaml of version 0.9.1
OLD_QLORA_SFT = f"""### model
model_name_or_path: meta-llama/Meta-Llama-3-8B-Instruct
quantization_bit: 4
quantization_method: bitsandbytes  # choices: [bitsandbytes (4/8), hqq (2/3/4/5/6/8), eetq (8)]

### method
stage: sft
do_train: true
finetuning_type: lora
lora_target: all

### dataset
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 16
{_COMMON}
### eval
val_size: 0.1
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 500
"""

# LLaMA-Factory: examples/train_full/qwen3_full_sft.yaml
FULL_SFT = LORA_SFT.replace("finetuning_type: lora\nlora_rank: 8\nlora_target: all", "finetuning_type: full").replace(
    "\n### dataset", "deepspeed: examples/deepspeed/ds_z3_config.json  # choices: [ds_z0_config.json]\n\n### dataset"
)

# LLaMA-Factory: examples/merge_lora/qwen3_lora_sft.yaml
MERGE = """### Note: DO NOT use quantized model or quantization_bit when merging lora adapters

### model
model_name_or_path: Qwen/Qwen3-4B-Instruct-2507
adapter_name_or_path: saves/qwen3-4b/lora/sft
template: qwen3_nothink
trust_remote_code: true

### export
export_dir: saves/qwen3_sft_merged
export_size: 5
export_device: cpu  # choices: [cpu, auto]
export_legacy_format: false
"""

# LLaMA-Factory: examples/inference/qwen3_lora_sft.yaml
CHAT = """model_name_or_path: Qwen/Qwen3-4B-Instruct-2507
adapter_name_or_path: saves/qwen3-4b/lora/sft
template: qwen3_nothink
infer_backend: huggingface  # choices: [huggingface, vllm, sglang, ktransformers]
trust_remote_code: true
"""

# Llama-Chinese: train/pretrain/pretrain.sh, with a model to start from, and what it needs here in front
PRETRAIN_CLM = """--stage pt --finetuning_type full --model_name_or_path models/tiny
    --train_files data/train_0.csv data/train_1.csv
    --validation_files data/dev.csv
    --per_device_train_batch_size 10
    --per_device_eval_batch_size 10
    --do_train
    --output_dir saves/pretrained
    --evaluation_strategy steps
    --use_fast_tokenizer false
    --max_eval_samples 500
    --learning_rate 3e-5
    --gradient_accumulation_steps 4
    --num_train_epochs 3
    --warmup_steps 10000
    --logging_dir saves/pretrained/logs
    --logging_strategy steps
    --logging_steps 2
    --save_strategy steps
    --preprocessing_num_workers 10
    --save_steps 500
    --eval_steps 500
    --save_total_limit 2000
    --seed 42
    --disable_tqdm false
    --ddp_find_unused_parameters false
    --block_size 4096
    --overwrite_output_dir
    --report_to tensorboard
    --run_name pretrained
    --bf16
    --bf16_full_eval
    --gradient_checkpointing
    --deepspeed ./ds_config_zero3.json
    --ignore_data_skip true
    --ddp_timeout 18000000"""

# Chinese-LLaMA-Alpaca-2: scripts/training/run_sft.sh
SFT_WITH_PEFT = """--deepspeed ds.json
    --model_name_or_path path/to/model --tokenizer_name_or_path path/to/tokenizer --dataset_dir data
    --train_file train.json --validation_split_percentage 0.001
    --per_device_train_batch_size 1 --per_device_eval_batch_size 1 --do_train --do_eval --seed 7 --fp16
    --num_train_epochs 1 --lr_scheduler_type cosine --learning_rate 1e-4 --warmup_ratio 0.03 --weight_decay 0
    --logging_strategy steps --logging_steps 10 --save_strategy steps --save_total_limit 3
    --evaluation_strategy steps --eval_steps 100 --save_steps 200 --gradient_accumulation_steps 8
    --preprocessing_num_workers 8 --max_seq_length 1024 --output_dir output --overwrite_output_dir
    --ddp_timeout 30000 --logging_first_step True --lora_rank 64 --lora_alpha 128
    --trainable q_proj,v_proj,k_proj,o_proj --modules_to_save embed_tokens,lm_head --lora_dropout 0.05
    --torch_dtype float16 --validation_file dev.json --peft_path path/to/peft --gradient_checkpointing
    --ddp_find_unused_parameters False"""

# Firefly: train_args/qlora, with the bits that its script has in its code
FIREFLY: dict[str, Any] = {
    "output_dir": "output/firefly",
    "model_name_or_path": "models/tiny-chat",
    "train_file": "./data/dummy_data.jsonl",
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 16,
    "learning_rate": 2e-4,
    "max_seq_length": 1024,
    "logging_steps": 300,
    "save_steps": 500,
    "save_total_limit": 1,
    "lr_scheduler_type": "constant_with_warmup",
    "warmup_steps": 3000,
    "lora_rank": 64,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "bits": 4,
    "gradient_checkpointing": True,
    "disable_tqdm": False,
    "optim": "paged_adamw_32bit",
    "seed": 42,
    "report_to": "tensorboard",
    "dataloader_num_workers": 0,
    "save_strategy": "steps",
    "do_eval": False,
    "weight_decay": 0,
    "max_grad_norm": 0.3,
    "remove_unused_columns": False,
}
