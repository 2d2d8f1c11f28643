"""Generates the choices of a validated request: prompts, grammars, parsing, the bridge to engine threads."""
