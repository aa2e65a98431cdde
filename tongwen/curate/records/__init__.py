"""Records by number, their edits, and exchanging rows between tasks."""
