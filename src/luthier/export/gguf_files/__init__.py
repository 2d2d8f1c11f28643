"""GGUF files for llama.cpp and Ollama: a complete model, or a LoRA adapter for one."""
