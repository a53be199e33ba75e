"""Given architectures made better with the scores of a trained supernet."""
