"""Stage 2, JSONL: the bytes of a file in, lines and JSON values out, without the loss of a character.

`reader` reads any line. `fast_validator` and `columnar_parser` read whole blocks of the commonest kind of line, a chat
of roles and texts, without building objects. Nothing here checks the content of an example.
"""
