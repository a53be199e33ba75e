"""vitsearch."""
