"""How such a recommender is usually built, for ``benchmarks.serve``: two synchronous apps, and a call per thing."""
