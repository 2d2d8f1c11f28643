"""From a validated request to generated choices: prompts, grammars, parsing, the bridge to engine threads."""
