"""Measuring text: words, sentences, signals, repetition, language, personal data."""

from tokenmill.text import measure, signals

__all__ = ["measure", "signals"]
