"""THE LOOP: batches without padding, attention that cannot look across rows, the trainer, its saving."""
