"""What comes with Camelid, registered through the same hooks as anyone else's."""
