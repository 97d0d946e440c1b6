"""One file per question; each ends with one JSON object."""
