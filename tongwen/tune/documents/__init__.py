"""Dialogues made of the user's documents, by a language model or by a rule, and general ones."""
