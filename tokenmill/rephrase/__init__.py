"""Rewriting of pages by language models: prompts, engines, ledger, checks, edit programs."""
