"""Training of classifiers from labelled documents: heads on frozen encoders, whole encoders, and fastText models."""
