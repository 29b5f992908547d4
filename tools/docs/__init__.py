"""Pages of the documentation site that are made from the code. `docs/conf.py` calls them before a build."""
