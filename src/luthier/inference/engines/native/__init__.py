"""The native engine: models of the Llama family in C++, for the matrix unit of x86 processors."""
