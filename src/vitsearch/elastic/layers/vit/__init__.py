"""The elastic layers of timm's plain vision transformers."""
