"""The programs that load an artefact and score it: transformers with PEFT, and llama.cpp.

Each returns, for the targets of every parity sample, the log-probability and whether the target is the most likely
token.
"""
