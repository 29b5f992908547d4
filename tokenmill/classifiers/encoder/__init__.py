"""Encoders of the BERT family that score texts: one pass, any number of heads."""
