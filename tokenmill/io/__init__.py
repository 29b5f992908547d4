"""File systems, archive and table formats, manifests and atomic publishing."""
