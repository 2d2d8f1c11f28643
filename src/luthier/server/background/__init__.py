"""Batches and evaluations: work that outlives a request and goes through the application itself."""
