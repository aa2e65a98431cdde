"""Chooses how much of what goes into training."""
