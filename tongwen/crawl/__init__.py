"""Stage: crawl."""
