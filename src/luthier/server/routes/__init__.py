"""One file per OpenAI resource, named after its path."""
