"""Requests an answer from the teacher with the prompt that the fine-tuned model will get in serving.

The request holds the serving system prompt and the bare question, so the example trains the model on the prompt that it
will see. A retry may add a style instruction for the teacher, which never becomes part of the example.
"""

from luthier.generate.journal import TeacherReply, TeacherRequest
from luthier.generate.teacher import Teacher
from luthier.generate.thinking_room import ask_with_room
from luthier.language import Language, say


async def request_answer(
    teacher: Teacher,
    slot: str,
    system: str | None,
    question: str,
    *,
    style: str | None = None,
    max_tokens: int,
    temperature: float,
) -> TeacherReply:
    """The teacher's answer to `question`.

    Args:
        slot: Identifies the request in the journal.
        system: The system prompt of serving; None for none.
        style: An instruction for the teacher, appended to the system prompt and not part of the example.
        max_tokens: The token limit of the answer.

    Raises:
        RequestFailedError: The request was given up.
        RunStoppedError: The run must stop.
    """
    instructions = "\n".join(part for part in (system, style) if part)
    messages = ({"role": "system", "content": instructions},) if instructions else ()
    return await ask_with_room(
        teacher, TeacherRequest(slot, (*messages, {"role": "user", "content": question}), max_tokens, temperature)
    )


def direct_style(language: Language, max_tokens: int) -> str:
    """The style instruction for a retry, after an answer that was truncated, refused, or padded with small talk."""
    return say(
        "Begin with the answer itself: no 'Sure', 'Certainly', greeting or repetition of the question, and no offer of "
        f"further help at the end. Be complete within about {max_tokens // 2} words.",
        "第一句直接给出答案内容，不要以“好的”“没问题”“当然可以”等应答语、问候或重复问题开头，结尾不要客套。"
        f"在 {max_tokens // 2} 字以内把话说完整。",
        language,
    )
