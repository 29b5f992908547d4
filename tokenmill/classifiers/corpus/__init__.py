"""Labelled sets of texts to train quality classifiers on: two sources, given positives, pages that others link to."""
