"""How sub-networks run."""
