"""Deduplication as barriers: exact, by URL, near-duplicates, lines and substrings."""
