"""The folder of a run: its files, how it is locked, interrupted and gone on with."""
