"""The engines that come with Camelid."""
