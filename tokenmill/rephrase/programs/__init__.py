"""Edit programs (ProX, arXiv:2409.17115): a page is mended by typed operations, from a model or by rules."""
