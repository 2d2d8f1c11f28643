"""Sequence packing: packed rows and shared prefixes."""
