"""Documentation, and what generates the parts of it that come from the code."""
