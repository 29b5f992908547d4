"""Decontamination: benchmark items in training texts are found, dropped or cut out, and reported."""
