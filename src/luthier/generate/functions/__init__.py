"""Generates examples of tool calls from function definitions: varied invocations, phrased as user messages and
verified.

    definitions ─▶ values ─▶ invocations ─▶ phrasings (teacher or templates) ─▶ verified examples
"""
