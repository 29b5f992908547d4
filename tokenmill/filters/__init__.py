"""The filter families: URL, language, Gopher, repetition, C4, FineWeb, bad words, personal data."""
