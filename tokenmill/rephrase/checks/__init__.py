"""Checks of single outputs: each a column, with thresholds in the rules of a style."""
