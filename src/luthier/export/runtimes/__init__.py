"""The programs that load an artefact and score the parity samples with it: transformers with PEFT, and llama.cpp.

For every target token of a sample, each returns its log-probability and whether it is the most likely token.
"""
