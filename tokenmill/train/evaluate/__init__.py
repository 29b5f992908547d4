"""What a language model says of texts and benchmarks. Torch in `score` and `suite` only."""
