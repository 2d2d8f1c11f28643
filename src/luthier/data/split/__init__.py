"""Train and validation splits without leakage."""
