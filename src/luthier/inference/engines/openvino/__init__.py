"""The openvino engine: models of the Llama family as one compiled graph, with keys and values in shared blocks."""
