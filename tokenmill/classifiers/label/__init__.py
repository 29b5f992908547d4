"""Labels from a language model: rubrics, a sample of documents, an endpoint to ask, and a ledger of all answers."""
