"""The door through which workers send requests to the application."""
