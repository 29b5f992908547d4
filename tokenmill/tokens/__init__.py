"""From documents to training batches: encoding, token shards, mixtures, decontamination, packing, loading."""
