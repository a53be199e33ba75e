"""The layers themselves, one kind a file."""
