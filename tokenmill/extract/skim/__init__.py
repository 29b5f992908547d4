"""Main content at memory speed: a linear scan, a learned model of blocks, and the text of those kept."""
