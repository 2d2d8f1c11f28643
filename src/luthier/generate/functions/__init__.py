"""Generates tool-call examples from function definitions: invocations in all their variety, phrased as users would ask
for them, verified.

    definitions ─▶ values ─▶ invocations ─▶ phrasings (teacher or templates) ─▶ verified examples
"""
