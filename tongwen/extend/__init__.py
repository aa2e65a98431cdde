"""Stage: extend."""
