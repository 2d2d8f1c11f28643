"""Saves the contents of a hosted fine-tuning account before it is switched off: inventory, recording, import.

An account is any service with OpenAI's API, reached through the official `openai` client: OpenAI, Azure, or another
Luthier server.
"""
