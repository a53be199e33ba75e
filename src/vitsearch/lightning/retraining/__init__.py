"""One network trained alone, and saved."""
