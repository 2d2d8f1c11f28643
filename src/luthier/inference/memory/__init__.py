"""KV cache blocks and LoRA slots."""
