"""Runs that begin with a pretrained network: `+space=timm`."""
