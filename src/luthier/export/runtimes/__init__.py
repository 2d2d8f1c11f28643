"""The programs that load an artefact and score it: transformers with PEFT, and llama.cpp.

Each gives, for the targets of every parity sample, the log-probability of the token and whether none is likelier.
"""
