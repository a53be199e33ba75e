"""Progressive shrinking in a training: callback, settings, state, and what it leaves."""
