"""Text as the steps see it: characters, folding, units."""
