"""Running a plan: the engine that fuses stages, the worker that commits shards, and executors."""
