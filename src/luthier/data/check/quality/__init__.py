"""Quality checks: the structure of an example is right, but its content may not be.

One module per idea. Every check reads batches of examples as columns (`batch`) and is declared in `plugins.ini`;
`runner` runs all of them over one file. No check keeps the texts of a batch after that batch.
"""
