"""The training loop: batches, loss, micro-batches (gradient accumulation), packing and the transformers Trainer."""
