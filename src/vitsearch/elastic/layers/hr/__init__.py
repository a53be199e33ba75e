"""The layers of high-resolution networks."""
