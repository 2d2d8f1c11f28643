"""A higher token limit for teachers that think in their replies: thinking counts towards `max_tokens`."""

from dataclasses import replace

from luthier.generate.errors import RequestRejectedError
from luthier.generate.journal import TeacherReply, TeacherRequest
from luthier.generate.teacher import Teacher

THINKING_TOKENS = 2048


def thinks_fact(model: str) -> str:
    """The name of the journal's fact that the model thinks in its replies, as the probe found out."""
    return f"thinks_aloud {model}"


async def ask_with_room(teacher: Teacher, request: TeacherRequest) -> TeacherReply:
    """`Teacher.ask` with a higher token limit for a teacher that is known to think.

    A reply that reached its limit while the teacher was still thinking is requested once more with the higher limit. If
    the service rejects that limit, the original one applies.
    """
    larger_request = replace(request, max_tokens=request.max_tokens + THINKING_TOKENS)
    if teacher.journal.get_fact(thinks_fact(teacher.model)):
        try:
            return await teacher.ask(larger_request)
        except RequestRejectedError:
            return await teacher.ask(request)
    reply = await teacher.ask(request)
    if reply.finish_reason != "length" or reply.words or not reply.thinks_aloud:
        return reply
    try:
        return await teacher.ask(larger_request)
    except RequestRejectedError:
        return reply
