"""Whether a score, a rule or a source of curation lowers a loss: measured on small proxies."""
