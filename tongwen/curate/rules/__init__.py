"""Measures texts and decides which documents stay."""
