"""Finding a recipe and all stages: `tokenmill.pipelines.find`, under the name that the commands use."""

from __future__ import annotations

from tokenmill.pipelines.find import Recipe, import_stages, load_recipe

__all__ = ["Recipe", "import_stages", "load_recipe"]
