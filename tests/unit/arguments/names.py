"""The arguments of LLaMA-Factory by group, as people bring them in commands and YAML files.

Each with a value that is usual in its examples, or the default: `name=value` is taken as it is,
`(name=value)` is taken with a note, `!name=value` is refused by name.
"""

ITEMS = {
    "base": """model_name_or_path=Qwen/Qwen3-4B-Instruct-2507 adapter_name_or_path=saves/qwen3-4b/lora/sft
        !adapter_folder=adapters cache_dir=cache (use_fast_tokenizer=true) resize_vocab=true
        (split_special_tokens=false) !add_tokens=<a>,<b> !add_special_tokens=<a>
        !new_special_tokens_config=tokens_cfg.yaml !init_special_tokens=desc_init model_revision=main
        (low_cpu_mem_usage=true) rope_scaling=yarn flash_attn=fa2 !shift_attn=true
        !mixture_of_depths=convert !use_unsloth=true !use_unsloth_gc=true (enable_liger_kernel=true)
        !moe_aux_loss_coef=0.001 (disable_gradient_checkpointing=false) (use_reentrant_gc=true)
        !upcast_layernorm=true !upcast_lmhead_output=true !train_from_scratch=true
        (infer_backend=huggingface) (offload_folder=offload) (use_kv_cache=true) (use_v1_kernels=false)
        (infer_dtype=auto) !hf_hub_token=hf_x !ms_hub_token=x !om_hub_token=x !print_param_status=true
        trust_remote_code=true""",
    "quantization": """quantization_method=bnb quantization_bit=4 quantization_type=nf4 double_quantization=true
        !quantization_device_map=auto""",
    "processor": """!image_max_pixels=262144 (image_min_pixels=1024) (image_do_pan_and_scan=false)
        (crop_to_patches=false) !video_max_pixels=16384 (video_min_pixels=256) (video_fps=2.0)
        (video_maxlen=128) (use_audio_in_video=false) (audio_sampling_rate=16000)""",
    "export": """(export_dir=saves/qwen3_sft_merged) (export_size=5) (export_device=cpu) !export_quantization_bit=4
        !export_quantization_dataset=data/c4_demo.jsonl (export_quantization_nsamples=128)
        (export_quantization_maxlen=1024) (export_legacy_format=false) !export_hub_model_id=me/model""",
    "vllm": """(vllm_maxlen=4096) (vllm_gpu_util=0.9) (vllm_enforce_eager=true) (vllm_max_lora_rank=32)
        (vllm_config={"x":1})""",
    "sglang": """(sglang_maxlen=4096) (sglang_mem_fraction=0.7) (sglang_tp_size=-1) !sglang_config={"x":1}
        (sglang_lora_backend=triton)""",
    "ktransformers": """!use_kt=true !kt_cpu_activation=recompute !kt_weight_path=weights
        !kt_non_expert_weight_path=weights
        !kt_expert_checkpoint_path=weights !kt_use_lora_experts=true !kt_lora_expert_num=2
        !kt_lora_expert_intermediate_size=128 !kt_config=kt.yaml""",
    "derived": "!compute_dtype=bfloat16 !device_map=auto (model_max_length=2048) !block_diag_attn=true",
    "data": """template=default dataset=identity,alpaca_en_demo eval_dataset=alpaca_en_demo dataset_dir=data
        !media_dir=media cutoff_len=2048 train_on_prompt=true mask_history=true streaming=true
        buffer_size=128 mix_strategy=interleave_over interleave_probs=0.5,0.5 overwrite_cache=true
        !preprocessing_batch_size=128 preprocessing_num_workers=16 max_samples=1000 !eval_num_beams=4
        (ignore_pad_token_for_loss=true) val_size=0.1 !eval_on_each_dataset=true packing=true
        neat_packing=true !tool_format=qwen default_system=Be_brief. enable_thinking=false
        (preserve_thinking=false) !tokenized_path=saves/tokenized (data_shared_file_system=false)""",
    "finetuning": """stage=sft finetuning_type=lora !pure_bf16=true !use_llama_pro=true !use_adam_mini=true
        (use_mca=false) (use_megatron_bridge=false) !megatron_bridge_args=x !use_hyper_parallel=true
        !hyper_parallel_args=x !hyper_parallel_cp_size=2 !use_muon=true !use_dft_loss=true
        !use_asft_loss=true (asft_alpha=0.1) !use_eaft_loss=true (eaft_alpha=1.0) (freeze_vision_tower=true)
        (freeze_multi_modal_projector=true) (freeze_language_model=false) (compute_accuracy=true)
        !disable_shuffling=true early_stopping_steps=5 plot_loss=true
        (include_effective_tokens_per_second=true)""",
    "freeze": "freeze_trainable_layers=8 freeze_trainable_modules=all freeze_extra_modules=embed_tokens,norm",
    "lora": """lora_rank=8 lora_alpha=16 lora_dropout=0.05 lora_target=all additional_target=embed_tokens,lm_head
        loraplus_lr_ratio=16.0 loraplus_lr_embedding=1e-6 use_rslora=true use_dora=true pissa_init=true
        pissa_iter=16 (pissa_convert=true) create_new_adapter=true""",
    "oft": """(oft_rank=0) (oft_block_size=32) (oft_target=all) (module_dropout=0.0) additional_target=lm_head
        create_new_adapter=false""",
    "rlhf": """(pref_beta=0.1) pref_loss=orpo pref_ftx=1.0 (pref_bco_weight=0.0) dpo_label_smoothing=0.1
        simpo_gamma=0.7 kto_chosen_weight=1.5 (kto_rejected_weight=1.0) !ld_alpha=0.5 ref_model=base
        ref_model_adapters=a ref_model_quantization_bit=4 reward_model=saves/qwen3-4b/lora/reward
        reward_model_adapters=a !reward_model_quantization_bit=4 reward_model_type=lora
        (ppo_buffer_size=1) (ppo_epochs=4) ppo_score_norm=true (ppo_target=6.0) ppo_whiten_rewards=true""",
    "galore": """!use_galore=true !galore_target=mlp,self_attn !galore_rank=128 (galore_update_interval=200)
        (galore_scale=2.0) (galore_proj_type=std) !galore_layerwise=true""",
    "apollo": """!use_apollo=true (apollo_target=all) !apollo_rank=128 (apollo_update_interval=200)
        (apollo_scale=32.0) (apollo_proj=random) (apollo_proj_type=std) (apollo_scale_type=channel)
        !apollo_layerwise=true !apollo_scale_front=true""",
    "badam": """!use_badam=true (badam_mode=layer) !badam_start_block=2 (badam_switch_mode=ascending)
        (badam_switch_interval=50) (badam_update_ratio=0.05) (badam_mask_mode=adjacent) !badam_verbose=2""",
    "swanlab": """!use_swanlab=true (swanlab_project=llamafactory) !swanlab_workspace=w !swanlab_run_name=r
        (swanlab_mode=cloud) !swanlab_api_key=x !swanlab_logdir=logs !swanlab_lark_webhook_url=x
        !swanlab_lark_secret=x""",
    "training": "overwrite_output_dir=true",
    "ray": """!ray_num_workers=4 !ray_init_kwargs={"x":1} !master_addr=10.0.0.1 !master_port=29500""",
    "profiler": """!enable_torch_profiler=true !profiler_output_dir=profile (profiler_wait_steps=1)
        (profiler_warmup_steps=1) (profiler_active_steps=1) (profiler_repeat=1)
        (profiler_record_shapes=true) (profiler_profile_memory=true) (profiler_with_stack=true)
        !profile_modules=true""",
    "fp8": "!fp8=true !fp8_backend=torchao (fp8_enable_fsdp_float8_all_gather=false)",
    "generating": """(do_sample=true) (temperature=0.95) (top_p=0.7) (top_k=50) (num_beams=1) !max_length=1024
        (max_new_tokens=512) (repetition_penalty=1.0) (length_penalty=1.0) (skip_special_tokens=true)""",
    "evaluation": """!task=mmlu_test (task_dir=evaluation) !batch_size=4 seed=42 (lang=en) (n_shot=5)
        !save_dir=saves/eval (download_mode=reuse_dataset_if_exists)""",
    "megatron": """!tensor_model_parallel_size=2 !pipeline_model_parallel_size=2 (expert_model_parallel_size=1)
        (context_parallel_size=1) !virtual_pipeline_model_parallel_size=2 !sequence_parallel=true
        !recompute_granularity=full !recompute_method=uniform !recompute_num_layers=1
        !account_for_embedding_in_pipeline_split=true !account_for_loss_in_pipeline_split=true
        !bias_activation_fusion=true !apply_rope_fusion=true !masked_softmax_fusion=true
        !cross_entropy_loss_fusion=true !moe_grouped_gemm=true !moe_token_dispatcher_type=alltoall
        !calculate_per_token_loss=true (use_distributed_optimizer=true) (overlap_param_gather=true)
        (overlap_grad_reduce=true) !use_packed_sequences=true (mixed_precision=bf16_mixed)
        !megatron_pretrained_checkpoint=ckpt !export_hf_on_finish=true !extra_config=x""",
    "transformers": """output_dir=saves/qwen3-4b/lora/sft learning_rate=1.0e-4 num_train_epochs=3.0 max_steps=3000
        per_device_train_batch_size=1 gradient_accumulation_steps=8 lr_scheduler_type=cosine
        (warmup_ratio=0.1) warmup_steps=20 weight_decay=0.1 max_grad_norm=1.0 bf16=true fp16=false
        logging_steps=10 save_steps=500 save_strategy=steps save_total_limit=3 save_only_model=false
        (save_safetensors=true) eval_strategy=steps (evaluation_strategy=steps) eval_steps=500
        per_device_eval_batch_size=1 load_best_model_at_end=true metric_for_best_model=eval_loss
        (greater_is_better=false) resume_from_checkpoint=null
        deepspeed=examples/deepspeed/ds_z3_config.json !fsdp=full_shard optim=adamw_torch
        neftune_noise_alpha=5 report_to=none run_name=first seed=42 ddp_timeout=180000000
        ddp_find_unused_parameters=false dataloader_num_workers=4 dataloader_pin_memory=true
        (push_to_hub=false) !hub_model_id=me/model !predict_with_generate=true do_train=true do_eval=true
        !do_predict=true include_num_input_tokens_seen=true gradient_checkpointing=true
        !group_by_length=true (remove_unused_columns=false) (logging_dir=logs) logging_strategy=steps
        (logging_first_step=true) overwrite_output_dir=true use_cpu=true (no_cuda=false) torch_compile=false
        data_seed=42 adam_beta1=0.9 adam_beta2=0.95 adam_epsilon=1e-8 disable_tqdm=false
        gradient_checkpointing_kwargs={"use_reentrant":true} !label_names=labels full_determinism=false
        ignore_data_skip=true !auto_find_batch_size=true lr_scheduler_kwargs={"min_lr":1e-6}
        torch_empty_cache_steps=10 (local_rank=-1) !hub_token=hf_x""",
}  # fmt: skip

_HELD = {"val_size": "0.1"}
# What a name needs beside it to be a whole command.
BESIDE = {
    "eval_strategy": _HELD,
    "evaluation_strategy": _HELD,
    "do_eval": _HELD,
    "load_best_model_at_end": {**_HELD, "eval_strategy": "steps"},
    "early_stopping_steps": {**_HELD, "eval_strategy": "steps", "load_best_model_at_end": "true"},
    "interleave_probs": {"mix_strategy": "interleave_under", "dataset": "a,b"},
    "streaming": {"max_steps": "10"},
    "buffer_size": {"streaming": "true", "max_steps": "10"},
    "pref_loss": {"stage": "dpo"},
    "pref_ftx": {"stage": "kto"},
    "dpo_label_smoothing": {"stage": "dpo"},
    "simpo_gamma": {"stage": "dpo", "pref_loss": "simpo"},
    "kto_chosen_weight": {"stage": "kto"},
    "ref_model": {"stage": "dpo"},
    "ref_model_adapters": {"stage": "dpo", "ref_model": "base"},
    "ref_model_quantization_bit": {"stage": "kto", "ref_model": "base"},
    "reward_model": {"stage": "ppo"},
    "reward_model_adapters": {"stage": "ppo", "reward_model": "a"},
    "reward_model_type": {"stage": "grpo", "reward_model": "a"},
    "ppo_score_norm": {"stage": "ppo"},
    "ppo_whiten_rewards": {"stage": "ppo"},
    "create_new_adapter": {"adapter_name_or_path": "saves/a"},
    "freeze_trainable_layers": {"finetuning_type": "freeze"},
    "freeze_trainable_modules": {"finetuning_type": "freeze"},
    "freeze_extra_modules": {"finetuning_type": "freeze"},
}


def name_of(item: str) -> str:
    """The name of an item."""
    return item.strip("!()").partition("=")[0]


def value_of(item: str) -> str:
    """The value of an item."""
    return item.removeprefix("(").removesuffix(")").partition("=")[2]


# The last group is upstream's; the others are the incumbent's own.
OWN = sorted({name_of(item) for group, items in ITEMS.items() if group != "transformers" for item in items.split()})
