"""Layouts of token shards, one file each."""
