"""Configuration groups, found by `hydra.searchpath=[pkg://downstream.conf]`."""
