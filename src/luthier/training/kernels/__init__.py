"""Fused kernels, each in PyTorch and in C++, with the bindings that compile them."""
