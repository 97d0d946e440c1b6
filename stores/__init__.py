"""Where things live and how they travel: the ports, and one adapter file per outside system."""
