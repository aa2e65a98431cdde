"""All stages: which there are, and running them one after the other."""
