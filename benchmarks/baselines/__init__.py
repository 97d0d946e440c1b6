"""What the product must beat: other methods that learn a stream, one small file each.

Each has ``learn(users, items)``, rows (n,) int32 in order of arrival, and ``scores(user, recent, size)``, the scores of
the first ``size`` items for a user whose newest positives are ``recent``, newest first.
"""
