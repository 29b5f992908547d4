"""fastText classifiers: scoring with their linear form, explaining, and training."""
