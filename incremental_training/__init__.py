"""Keep learning: the only writer of embeddings."""
