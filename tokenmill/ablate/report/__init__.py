"""Reports of ablations: figures, tables, HTML and Markdown. `tokenmill.ablate.report.write` writes them all."""
