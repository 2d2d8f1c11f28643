"""The engines: each runs one base model with its adapters."""
