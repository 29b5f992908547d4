"""Classifiers of texts: labels, training, scoring and what decides on scores."""
