"""Doubts about what a file teaches: the form is right, the content may not be.

One file per idea, each a small observer that is shown the parsed examples one by one. Nothing here knows files,
tokenizers or base models, and nothing keeps a text longer than it needs to.
"""
