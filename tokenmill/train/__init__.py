"""Training small models on tokens: the model, the loop, and what is measured on it."""
