"""Distributed training: process group, strategies (DDP, FSDP, DeepSpeed), shards. Starts no process."""
