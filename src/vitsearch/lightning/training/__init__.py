"""The modules that train, and what a step is made of."""
