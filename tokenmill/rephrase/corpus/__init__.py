"""Checks of a whole set of outputs: what no single one of them shows."""
