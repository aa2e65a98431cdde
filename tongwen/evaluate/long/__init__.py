"""Long contexts: needles in a haystack, both languages."""
