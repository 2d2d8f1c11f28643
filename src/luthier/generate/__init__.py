"""Generates training examples with a teacher model: topics → questions → answers, and function definitions → calls.

    plan ─▶ questions ─▶ answers ─▶ filters ─▶ judge ─▶ examples, rejects, report
                 └── teacher ── rate limits · budget · journal

The teacher is any service behind an `openai.AsyncOpenAI` client.
"""
