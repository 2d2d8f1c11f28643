"""A teacher model → examples: topics → questions → answers, and function definitions → calls.

    plan ─▶ questions ─▶ answers ─▶ filters ─▶ judge ─▶ examples, rejects, report
                 └── teacher ── limits · money · journal

The teacher is whatever answers chat requests behind an `openai.AsyncOpenAI` client. No torch, no server of its own.
"""
