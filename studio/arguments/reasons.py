"""The names that are not taken, and why: the table that `refused` reads.

One line: names, each with the values under which it asks for nothing (a|b, or * for any; none given: off or
empty), and the reason with the way out.
"""

from __future__ import annotations

LINES: list[tuple[str, str]] = [
    # Weights and loading
    (
        "use_fast_tokenizer=*",
        "tokenizers are always the fast ones, since preview and training share one; leave it out",
    ),
    (
        "low_cpu_mem_usage=True offload_folder=offload",
        "weights are always read tensor by tensor; leave it out",
    ),
    (
        "add_tokens add_special_tokens new_special_tokens_config init_special_tokens=noise_init",
        "a tokenizer is not changed while training; studio tokenizer extend takes new tokens and makes a model with "
        "them, whose embeddings begin well",
    ),
    (
        "split_special_tokens",
        "a special token that is written in a text counts as that token; take it out of the text where that is "
        "not meant",
    ),
    (
        "shift_attn mixture_of_depths moe_aux_loss_coef use_llama_pro use_v1_kernels",
        "it is a variant of the model that the studio does not have; leave it out",
    ),
    (
        "train_from_scratch config_name config_overrides model_type",
        "learning starts from the weights and the config in the folder of --model_name_or_path; leave it out",
    ),
    (
        "ckpt",
        "it has two meanings; write --model_name_or_path for the weights to start from, or "
        "--resume_from_checkpoint for the checkpoint of this run to go on from",
    ),
    ("print_param_status", "the plan says how many weights learn; write --plan"),
    (
        "upcast_layernorm upcast_lmhead_output",
        "weights that learn are float32 and the loss is computed in float32 in any case; leave it out",
    ),
    (
        "use_unsloth use_unsloth_gc use_kt kt_cpu_activation kt_weight_path kt_non_expert_weight_path "
        "kt_expert_checkpoint_path kt_use_lora_experts kt_lora_expert_num kt_lora_expert_intermediate_size "
        "kt_config use_mca use_megatron_bridge megatron_bridge_args use_hyper_parallel hyper_parallel_args "
        "hyper_parallel_cp_size=1 tensor_model_parallel_size=1 pipeline_model_parallel_size=1 "
        "expert_model_parallel_size=1 context_parallel_size=1 context_model_parallel_size=1 "
        "virtual_pipeline_model_parallel_size sequence_parallel recompute_granularity recompute_method "
        "recompute_num_layers account_for_embedding_in_pipeline_split account_for_loss_in_pipeline_split "
        "bias_activation_fusion apply_rope_fusion masked_softmax_fusion cross_entropy_loss_fusion moe_grouped_gemm "
        "moe_token_dispatcher_type calculate_per_token_loss use_distributed_optimizer=True "
        "overlap_param_gather=True overlap_grad_reduce=True use_packed_sequences mixed_precision=bf16_mixed "
        "megatron_pretrained_checkpoint export_hf_on_finish extra_config",
        "it is another training engine; the studio trains with its own flow, so leave it out",
    ),
    (
        "disable_gradient_checkpointing",
        "activations are only recomputed where asked or needed; write --gradient_checkpointing False to rule it out",
    ),
    (
        "use_reentrant_gc=True",
        "the newer, non-reentrant way is always taken; use "
        "--gradient_checkpointing_kwargs '{\"use_reentrant\": true}' to change it",
    ),
    ("adapter_folder", "write the whole path of each adapter in --adapter_name_or_path"),
    (
        "compute_dtype device_map block_diag_attn",
        "the studio decides it and tells it before the start; leave it out",
    ),
    (
        "include_effective_tokens_per_second=* include_tokens_per_second=*",
        "every point of the curve tells tokens/s, padding left out",
    ),
    ("pure_bf16", "weights that learn are kept in float32, or small updates are lost; use --bf16 True"),
    (
        "quantization_device_map",
        "a quantised model lies on the device it trains on; leave it out",
    ),
    (
        "fp8 fp8_backend=auto fp8_enable_fsdp_float8_all_gather",
        "nothing is computed in 8-bit floats; use --bf16 True, or --quantization_bit 8 to save memory",
    ),
    # Methods
    (
        "train_mode=lora",
        "write --finetuning_type full or lora; what others call qlora is lora with --quantization_bit 4",
    ),
    (
        "oft_rank=0 oft_block_size=32 oft_target=all module_dropout=0",
        "OFT adapters are not trained here; use --finetuning_type lora",
    ),
    (
        "pissa_convert=*",
        "an adapter that started with --pissa_init is always saved as a plain LoRA of the untouched base; leave it out",
    ),
    (
        "bias=none",
        "the base's own biases stay as they are, so that an adapter can be switched off; write --lora_bias True for "
        "biases in the adapter",
    ),
    (
        "use_galore galore_target=all galore_rank=16 galore_update_interval=200 galore_scale=2.0 "
        "galore_proj_type=std galore_layerwise use_apollo apollo_target=all apollo_rank=16 "
        "apollo_update_interval=200 apollo_scale=32.0 apollo_proj=random apollo_proj_type=std "
        "apollo_scale_type=channel apollo_layerwise apollo_scale_front",
        "choose the optimizer by its upstream name with --optim (galore_adamw, apollo_adamw, …), the modules with "
        "--optim_target_modules all-linear and its settings, whose defaults upstream are others, with "
        "--optim_args rank=16,update_proj_gap=200,scale=2.0",
    ),
    ("use_adam_mini use_muon", "choose an optimizer that transformers has, with --optim"),
    (
        "use_badam badam_mode=layer badam_start_block badam_switch_mode=ascending badam_switch_interval=50 "
        "badam_update_ratio=0.05 badam_mask_mode=adjacent badam_verbose=0",
        "BAdam is not supported; use --finetuning_type freeze or lora",
    ),
    (
        "use_dft_loss use_asft_loss asft_alpha=0.1 use_eaft_loss eaft_alpha=1.0",
        "the loss is the cross-entropy of the answer's tokens; leave it out",
    ),
    (
        "freeze_vision_tower=True freeze_multi_modal_projector=True freeze_language_model "
        "image_max_pixels=589824 image_min_pixels=1024 image_do_pan_and_scan crop_to_patches "
        "video_max_pixels=65536 video_min_pixels=256 video_fps=2.0 video_maxlen=128 use_audio_in_video "
        "audio_sampling_rate=16000 media_dir",
        "models with pictures, sound or video are not trained here",
    ),
    # Preferences and rewards
    (
        "pref_bco_weight=0.0",
        "the losses of pairs are those of --pref_loss, and --pref_ftx adds one on the chosen answers; leave it out",
    ),
    (
        "ld_alpha",
        "a longer answer's further tokens are not weighed apart; against an advantage of length use --pref_loss ipo "
        "or simpo, which average over tokens",
    ),
    (
        "reward_model_quantization_bit",
        "a reward model is loaded as it lies on the disk; one that is an adapter on the base which learns "
        "(--reward_model_type lora) shares its weights, in 4 or 8 bits too",
    ),
    # Rows
    (
        "preprocessing_batch_size=1000 data_shared_file_system",
        "rows are turned into tokens once, kept on disk and read from there, so that memory stays small; leave it out",
    ),
    ("eval_on_each_dataset", "all eval_dataset rows are measured together; run one evaluation a dataset"),
    ("tokenized_path data_cache_dir", "rendered rows are kept by their content by themselves; leave it out"),
    (
        "dataset_name dataset_config_name dataset_config",
        "write an entry into dataset_info.json, with hf_hub_url and subset for a dataset of the hub, and name it "
        "with --dataset; or name a file with --train_file",
    ),
    ("dataset_text_field=text", "write the column of the text into the dataset's entry: columns, prompt"),
    (
        "validation_split_percentage",
        "write --val_size with the share, 0.05 for 5 per cent, or with a number of rows",
    ),
    ("keep_linebreaks=True", "a line of a text file is a row, without its line break; leave it out"),
    (
        "assistant_only_loss=True completion_only_loss=True",
        "loss falls on the answers; write --train_on_prompt True to have it on the questions too",
    ),
    (
        "max_source_length max_target_length max_prompt_length",
        "question and answer share one length; write --cutoff_len",
    ),
    ("ignore_pad_token_for_loss=True", "padding never bears loss; leave it out"),
    ("disable_shuffling", "write --train_sampling_strategy sequential, and --packing False beside it"),
    (
        "tool_format preserve_thinking",
        "the chat template decides it; give your own Jinja file with --template",
    ),
    (
        "eval_num_beams predict_with_generate do_predict generation_max_length generation_num_beams generation_config",
        "answers are not generated during training; train, then ask with studio chat",
    ),
    ("num_beams=1 length_penalty=1.0", "an answer is written token by token, not chosen among several; leave it out"),
    ("skip_special_tokens=True", "special tokens are never shown in an answer; leave it out"),
    (
        "task task_dir=evaluation lang=en n_shot=5 save_dir download_mode=reuse_dataset_if_exists",
        "benchmarks are measured with studio eval choice and studio eval harness, and in a run with --eval_methods",
    ),
    ("batch_size", "write --per_device_train_batch_size, or --per_device_eval_batch_size for evaluation"),
    # What transformers dropped
    (
        "logging_dir=*",
        "the curve lies in the run's folder and TensorBoard's files in its tensorboard/; TENSORBOARD_LOGGING_DIR in "
        "the environment moves these",
    ),
    ("save_safetensors=True", "weights are always written as safetensors; leave it out"),
    ("fp16_opt_level=* fp16_backend=* half_precision_backend=*", "torch itself computes in 16 bits; leave it out"),
    (
        "use_ipex jit_mode_eval use_mps_device tpu_num_cores tpu_metrics_debug torchdynamo mp_parameters past_index=-1 "
        "ray_scope=last split_batches dispatch_batches include_inputs_for_metrics sortish_sampler",
        "transformers dropped it and the studio does not have it; leave it out",
    ),
    ("group_by_length", "rows are laid end to end without padding, so sorting by length saves nothing; leave it out"),
    ("torch_dtype=auto dtype=auto", "write --bf16 True or False"),
    ("max_length", "write --cutoff_len for the longest row, --max_new_tokens for the longest answer of studio chat"),
    # Where
    (
        "ray_num_workers=1 ray_init_kwargs master_addr master_port ray_run_name ray_storage_path",
        "Ray does not start training here; several GPUs of one machine are used by themselves",
    ),
    ("parallelism_config", "it cannot be written in a command; several GPUs are used by themselves"),
    ("local_rank=*", "the launcher says it in the environment too; leave it out"),
    (
        "fsdp fsdp_config fsdp_transformer_layer_cls_to_wrap fsdp_min_num_params=0",
        "weights are divided among several devices by DeepSpeed: write --deepspeed with a file of stage 3, or use "
        "--finetuning_type lora with --gradient_checkpointing True to fit a larger model on each",
    ),
    (
        "enable_torch_profiler profiler_output_dir profiler_wait_steps=1 profiler_warmup_steps=1 "
        "profiler_active_steps=1 profiler_repeat=1 profiler_record_shapes=True profiler_profile_memory=True "
        "profiler_with_stack=True profile_modules",
        "there is no profiler in the command; leave it out",
    ),
    (
        "use_kv_cache=True sglang_maxlen=4096 sglang_mem_fraction=0.7 sglang_tp_size=-1 sglang_config "
        "sglang_lora_backend=triton",
        "the engines are huggingface, which always keeps keys and values, and vllm; leave it out",
    ),
    (
        "export_quantization_bit export_quantization_dataset export_quantization_nsamples=128 "
        "export_quantization_maxlen=1024 export_legacy_format",
        "exports are safetensors in full precision; quantise the export with the tool of its engine",
    ),
    ("export_device=cpu", "merging goes tensor by tensor on the CPU; leave it out"),
    ("export_hub_model_id", "nothing is uploaded; upload the export's folder with the hub's own command"),
    (
        "use_swanlab swanlab_project=llamafactory swanlab_workspace swanlab_run_name swanlab_mode=cloud swanlab_logdir",
        "trackers are chosen with --report_to",
    ),
    (
        "wandb_project wandb_entity wandb_watch wandb_name",
        "write --report_to wandb and --run_name; WANDB_PROJECT and WANDB_ENTITY stand in the environment",
    ),
    ("img_log_name", "the pictures in --img_log_dir have the name of the run"),
    # Upstream fields that the studio decides itself
    (
        "auto_find_batch_size",
        "it would change the number of steps in mid-run; choose a smaller "
        "--per_device_train_batch_size and a larger --gradient_accumulation_steps",
    ),
    ("enable_jit_checkpoint", "a stopped run is always saved; leave it out"),
    (
        "remove_unused_columns=* label_names length_column_name=length",
        "the rows' columns and batches are the studio's own; leave it out",
    ),
    (
        "prediction_loss_only include_for_metrics batch_eval_metrics eval_do_concat_batches=True "
        "eval_use_gather_object eval_accumulation_steps",
        "evaluation sums loss and accuracy as it goes and keeps no logits, so there is nothing to set; leave it out",
    ),
    ("save_on_each_node", "checkpoints are written once; leave it out"),
    (
        "push_to_hub hub_model_id hub_strategy=every_save hub_private_repo hub_always_push hub_revision "
        "push_to_hub_model_id push_to_hub_organization",
        "nothing is uploaded during training; upload the run's folder with the hub's own command",
    ),
    ("use_cache", "a cache of keys and values has no use in training; leave it out"),
    ("greater_is_better", "it follows from metric_for_best_model: higher accuracy, lower loss and perplexity"),
    ("compute_accuracy=*", "every evaluation tells the accuracy; leave it out"),
    ("logging_nan_inf_filter=True", "a loss that is not finite always ends the run; leave it out"),
    ("logging_first_step=*", "the first and the last step are always logged; leave it out"),
    ("log_on_each_node=True", "one machine trains, and its first process writes the log; leave it out"),
    (
        "bf16_full_eval=* fp16_full_eval=*",
        "evaluation computes in the precision of the run, which --bf16 says",
    ),
    (
        "accelerator_config",
        "batches, their order and their accumulation are the studio's own, or a run could not go on exactly; "
        "write --gradient_accumulation_steps and --data_seed",
    ),
    (
        "restore_callback_states_from_checkpoint",
        "what a run needs to go on is always taken from its checkpoint; leave it out",
    ),
    ("debug", "a loss or gradient that is not finite always ends the run, with the step; leave it out"),
    ("skip_memory_metrics=True", "every point of the curve tells the memory; leave it out"),
]
