"""Stage: tokenizer."""
