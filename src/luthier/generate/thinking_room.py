"""Room in a reply for a teacher that thinks aloud: its thinking counts towards `max_tokens` like its answer."""

from dataclasses import replace

from luthier.generate.errors import RequestRejectedError
from luthier.generate.journal import TeacherReply, TeacherRequest
from luthier.generate.teacher import Teacher

THINKING_TOKENS = 2048


def thinks_fact(model: str) -> str:
    """The journal's fact that the model thought aloud when it was probed."""
    return f"thinks_aloud {model}"


async def ask_with_room(teacher: Teacher, request: TeacherRequest) -> TeacherReply:
    """As `Teacher.ask`, with more tokens for a teacher that was seen thinking.

    A reply that ended while the teacher was still thinking is requested once more with room for it; a service that
    rejects so large a reply is left at that.
    """
    roomy = replace(request, max_tokens=request.max_tokens + THINKING_TOKENS)
    if teacher.journal.get_fact(thinks_fact(teacher.model)):
        try:
            return await teacher.ask(roomy)
        except RequestRejectedError:
            return await teacher.ask(request)
    reply = await teacher.ask(request)
    if reply.finish_reason != "length" or reply.words or not reply.thinks_aloud:
        return reply
    try:
        return await teacher.ask(roomy)
    except RequestRejectedError:
        return reply
