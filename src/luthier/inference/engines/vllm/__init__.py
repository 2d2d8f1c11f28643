"""vLLM as an engine: a separate server, called over HTTP with token ids in and out."""
