"""What becomes of pairs before they are stored: canonical hashes, duplicates, filters, splits, contamination."""
