"""The batched engine: Llama-like models written out for serving, many answers and many adapters in one pass."""
