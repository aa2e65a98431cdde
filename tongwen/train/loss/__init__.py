"""The loss of the language model head."""
