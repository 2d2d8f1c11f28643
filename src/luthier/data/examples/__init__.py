"""JSON values to training examples: messages, tool definitions, preference pairs."""
