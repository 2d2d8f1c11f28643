"""Bytes → examples: read, check, split, estimate. No torch, no network."""
