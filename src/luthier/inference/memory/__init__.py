"""Memory of the engines: KV caches and LoRA slots."""
