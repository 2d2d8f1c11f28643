"""vLLM as an engine: a server of its own, reached over HTTP with token ids in and out."""
