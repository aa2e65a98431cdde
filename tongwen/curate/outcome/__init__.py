"""What came of every record: decisions, documents, and the numbers about them."""
