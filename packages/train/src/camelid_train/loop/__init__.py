"""The loop: batches, loss, micro-batches and the transformers Trainer around them."""
