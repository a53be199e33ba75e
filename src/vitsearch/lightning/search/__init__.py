"""The search after training."""
