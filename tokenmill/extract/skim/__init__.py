"""Main content at memory speed: a linear scan of the page, a learned model of its blocks, and the text of those kept."""
