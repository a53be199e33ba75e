"""What the commands share. Hydra is imported here and in the commands only."""
