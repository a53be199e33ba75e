"""From timm's vision transformers to elastic ones, and back."""
