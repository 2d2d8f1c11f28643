"""Trains models: takes a job folder and produces JSON events on stdout and model folders. No HTTP, no database."""
