"""Trains adapters: a job folder in, JSON events on stdout and adapter folders out. No HTTP, no database."""
