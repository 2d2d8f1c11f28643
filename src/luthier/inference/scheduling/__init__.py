"""Continuous batching: the engine loop, the scheduler, fairness, prefix caching, sampling."""
