"""Learn once: a batch program that ends."""
