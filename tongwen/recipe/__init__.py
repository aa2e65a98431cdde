"""Stage: recipe."""
