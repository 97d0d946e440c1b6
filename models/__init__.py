"""What is learned, and its stored form."""
