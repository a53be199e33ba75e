"""How well the supernet ranks networks trained alone."""
