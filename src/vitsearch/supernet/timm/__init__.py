"""timm's model interface: names, features, preprocessing."""
