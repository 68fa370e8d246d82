"""A home."""
