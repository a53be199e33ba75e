"""Networks in files: checkpoints, model folders, the Hub, the authors' checkpoints."""
