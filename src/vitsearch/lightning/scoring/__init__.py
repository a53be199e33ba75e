"""Accuracy of architectures on the search split."""
