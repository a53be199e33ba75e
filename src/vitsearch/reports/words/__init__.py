"""Architectures, trainings and audits in words."""
