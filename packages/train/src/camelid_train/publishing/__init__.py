"""Publishing: what leaves this machine, its cards, and the hubs that it goes to."""
