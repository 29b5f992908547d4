"""Measurements of a text: signals, repetition kernels, sentences, language. No I/O beyond model files."""

from tokenmill.text import signals_fineweb, signals_gopher, signals_repetition

__all__ = ["signals_fineweb", "signals_gopher", "signals_repetition"]
