"""Requests the questions of slots in the words of their personas, several per request, with earlier questions shown.

The prompt asks for numbered lines that are the questions themselves, not to "generate a question about …", since a chat
model acknowledges such a request first ("好的，这里有一个问题：") and the acknowledgement would end up in the data.
"""

from collections.abc import Sequence

from luthier.generate.filters import screen_question
from luthier.generate.list_prompts import ListPrompter, ListReply, with_existing_texts
from luthier.generate.plan import Slot
from luthier.language import Language, say

TOKENS_PER_QUESTION = 120


async def request_sub_topics(lists: ListPrompter, topic: str, count: int, language: Language) -> list[str]:
    """At most `count` distinct sub-topics of a topic, in the teacher's order."""
    system = say(
        "You divide subjects into parts. You name each part in a few words.",
        "你负责把一个主题拆成若干部分，每个部分用几个字命名。",
        language,
    )
    prompt = say(
        f"Subject: {topic}\nName {count} parts of it that people ask about and that hardly overlap.",
        f"主题：{topic}\n写出其中 {count} 个人们常会问到、彼此少有重叠的部分。",
        language,
    )
    reply = await lists.request_list(f"sub-topics/{topic}", system, prompt, count, language, tokens_per_text=30)
    return reply.ordered()


async def request_questions(
    lists: ListPrompter, batch: Sequence[Slot], existing: Sequence[str], language: Language, attempt: int, last: bool
) -> ListReply:
    """The questions for slots of one topic, numbered from 1 in the order of `batch`.

    Args:
        existing: Questions that must not be repeated.
        attempt: The number of the attempt, which makes retries different requests.
        last: Whether this is the last attempt.

    Raises:
        RequestFailedError: The request was given up.
        RunStoppedError: The run must stop.
    """
    system = say(
        "You write down what real users type into a chat window. Each line is the question itself, in the asker's own "
        "words: no acceptance such as 'Sure', no introduction, no quotation marks, no answer.",
        "你负责写下真实用户在聊天窗口里输入的话。每一条就是问题本身，用提问者自己的口吻；"
        "不写“好的”“当然可以”之类的应答语，不写引言，不加引号，不写答案。",
        language,
    )
    heading = say(
        "\nThese exist already; do not repeat or rephrase them:",
        "\n已经有下面这些问题，不要重复，也不要换个说法再问：",
        language,
    )
    prompt = with_existing_texts(_task(batch, language), heading, existing)
    slot_name = f"questions/{batch[0].topic}/{attempt}/" + ",".join(str(slot.number) for slot in batch)
    return await lists.request_list(
        slot_name,
        system,
        prompt,
        len(batch),
        language,
        tokens_per_text=TOKENS_PER_QUESTION,
        last=last,
        is_usable=lambda text: screen_question(text, language).reason is None,
    )


def _task(batch: Sequence[Slot], language: Language) -> str:
    """The prompt for the questions of a batch, with a numbered line for each slot."""
    topic, count = batch[0].topic, len(batch)
    heading = say(
        f"Subject: {topic}\nWrite {count} questions, one for each line below; each can be understood without the "
        "others. The asker's role shows in the situation and is not named.",
        f"主题：{topic}\n请按下面每一行的要求各写一个问题，共 {count} 个，每个单独看也能看懂。"
        "提问者的身份体现在处境里，不必写明。",
        language,
    )
    lines = [
        say(
            f"{number}. part: {slot.sub_topic}; kind: {slot.task}; asker: {slot.persona}, {slot.level}",
            f"{number}. 方面：{slot.sub_topic}；类型：{slot.task}；提问者：{slot.persona}，{slot.level}",
            language,
        )
        for number, slot in enumerate(batch, 1)
    ]
    return "\n".join([heading, *lines])
