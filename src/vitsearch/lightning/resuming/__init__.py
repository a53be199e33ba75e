"""What a run needs to go on as if it had not been interrupted."""
