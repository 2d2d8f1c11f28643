"""Function definitions → examples of calls: every kind of invocation, phrased as people would ask for it, verified.

definitions ─▶ values ─▶ invocations ─▶ phrasings (teacher or templates) ─▶ verified examples
"""
