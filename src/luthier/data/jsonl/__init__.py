"""Bytes to JSON values, line by line, without losing a character."""
