"""GGUF files, as llama.cpp and Ollama read them: a whole model, or a LoRA adapter beside one."""
