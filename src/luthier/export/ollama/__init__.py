"""A folder for `ollama create`: a merged GGUF file, and a Modelfile with its own template.

Ollama runs Go templates and ignores the Jinja template inside a GGUF file.
"""
