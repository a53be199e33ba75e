"""A finished network on a split of the data."""
