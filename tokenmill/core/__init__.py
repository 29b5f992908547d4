"""The data model and the stage contract: standard library and pyarrow only, no I/O."""
