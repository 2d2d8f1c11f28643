"""Stage 4c, rendering: examples and requests in; token ids and loss weights out, through the chat template.

`renderer` is used by training and serving alike. `tool_dropout` varies how training examples include their definitions.
`parity_samples` is the file by which a served adapter is compared with the trained one.
"""
