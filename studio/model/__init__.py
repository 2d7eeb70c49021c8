"""WEIGHTS: tokenizer, chat templates, loading, adapting, checkpoints, export."""
