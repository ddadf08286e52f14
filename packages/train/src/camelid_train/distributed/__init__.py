"""What the processes of one run do together. Below the training loop; starts no process."""
