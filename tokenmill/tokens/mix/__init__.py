"""Mixtures: token sets put together by weights, stages and tags (docs/mixtures.md)."""
