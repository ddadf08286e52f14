"""The commands that camelid-train adds."""
