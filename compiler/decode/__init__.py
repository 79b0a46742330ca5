"""Decoding with a static key/value cache: step programs, the cache, generation and speculation."""
