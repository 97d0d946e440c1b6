"""Search: the only room that imports faiss."""
