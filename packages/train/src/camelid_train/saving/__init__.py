"""What is kept on disk so that no run is lost: checkpoints, which of them stay, room for them."""
