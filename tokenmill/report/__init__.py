"""What a run did, told from its manifests."""
