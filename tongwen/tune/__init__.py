"""Stage: tune."""
