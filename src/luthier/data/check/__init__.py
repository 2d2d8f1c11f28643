"""Structural and quality checks of a training file."""
