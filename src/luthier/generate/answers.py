"""A question → the teacher's answer to it, asked as the fine-tuned model will be asked.

The request is the serving system prompt and the bare question, nothing else: what comes back is the reply that a user
would get, and the example shows the model the very prompt that it will see. A second try may tell the teacher more;
those words never reach the example. Knows nothing about judging answers.
"""

from luthier.generate.journal import Ask, Reply
from luthier.generate.teacher import Teacher
from luthier.language import Language, say


async def answer(
    teacher: Teacher,
    slot: str,
    system: str | None,
    question: str,
    *,
    style: str | None = None,
    max_tokens: int,
    temperature: float,
) -> Reply:
    """`style` is told to the teacher after the system prompt and is no part of the example."""
    told = "\n".join(part for part in (system, style) if part)
    asked = ({"role": "system", "content": told},) if told else ()
    return await teacher.ask(Ask(slot, (*asked, {"role": "user", "content": question}), max_tokens, temperature))


def direct_style(language: Language, max_tokens: int) -> str:
    """For a second try, after an answer that was cut off, refused or wrapped in chatter."""
    return say(
        "Begin with the answer itself: no 'Sure', 'Certainly', greeting or repetition of the question, and no offer of "
        f"further help at the end. Be complete within about {max_tokens // 2} words.",
        "第一句直接给出答案内容，不要以“好的”“没问题”“当然可以”等应答语、问候或重复问题开头，结尾不要客套。"
        f"在 {max_tokens // 2} 字以内把话说完整。",
        language,
    )
