"""Training of the block model of `extractor="skim"`: labels, data, fitting. Run from the root of the repository."""
