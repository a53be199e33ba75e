"""A project that builds on vitsearch: its own loss, its own search spaces."""
