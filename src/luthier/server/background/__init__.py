"""In-process requests of workers to the application."""
