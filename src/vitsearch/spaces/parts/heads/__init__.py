"""Heads other than classifiers of images."""
