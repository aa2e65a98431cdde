"""Grades that a language model gives to documents, for scorers to learn from."""
