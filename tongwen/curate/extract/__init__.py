"""From a raw record to its text: charset, main content, language, repair, lines."""
