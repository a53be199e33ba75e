"""Tokens that become fewer on their way through a network."""
