"""One file per kind of work that a worker claims."""
