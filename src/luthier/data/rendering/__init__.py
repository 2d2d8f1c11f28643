"""Examples to token ids and loss weights through the chat template."""
