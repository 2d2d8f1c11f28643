"""Slots → questions, as the people in the slots would ask them: several per request, shown the earlier ones.

The teacher is asked for the question itself, by number, and not to "generate a question about …": a chat model accepts
such a wish first ("好的，这里有一个问题：") and the acceptance ends up in the data. Knows nothing about answers.
"""

from collections.abc import Sequence

from luthier.generate.list_prompts import Lists, with_earlier
from luthier.generate.plan import Slot
from luthier.language import Language, say

TOKENS_EACH = 120


async def sub_topics(lists: Lists, topic: str, count: int, language: Language) -> list[str]:
    """At most `count` different ones, in the teacher's order; fewer if it knows no more."""
    system = say(
        "You divide subjects into parts. You name each part in a few words.",
        "你负责把一个主题拆成若干部分，每个部分用几个字命名。",
        language,
    )
    wish = say(
        f"Subject: {topic}\nName {count} parts of it that people ask about and that hardly overlap.",
        f"主题：{topic}\n写出其中 {count} 个人们常会问到、彼此少有重叠的部分。",
        language,
    )
    found = await lists.ask(f"sub-topics/{topic}", system, wish, count, language, tokens_each=30)
    return list(dict.fromkeys(found[number] for number in sorted(found)))


async def questions(
    lists: Lists, batch: Sequence[Slot], earlier: Sequence[str], language: Language, turn: int, last: bool
) -> dict[Slot, str]:
    """The question for each slot of one topic, as far as they came; `turn` tells apart repeated tries, up to the
    `last`.
    """
    system = say(
        "You write down what real users type into a chat window. Each line is the question itself, in the asker's own "
        "words: no acceptance such as 'Sure', no introduction, no quotation marks, no answer.",
        "你负责写下真实用户在聊天窗口里输入的话。每一条就是问题本身，用提问者自己的口吻；"
        "不写“好的”“当然可以”之类的应答语，不写引言，不加引号，不写答案。",
        language,
    )
    head = say(
        "\nThese exist already; do not repeat or rephrase them:",
        "\n已经有下面这些问题，不要重复，也不要换个说法再问：",
        language,
    )
    wish = with_earlier(_task(batch, language), head, earlier)
    name = f"questions/{batch[0].topic}/{turn}/" + ",".join(str(slot.number) for slot in batch)
    found = await lists.ask(name, system, wish, len(batch), language, tokens_each=TOKENS_EACH, last=last)
    return {slot: found[number] for number, slot in enumerate(batch, 1) if number in found}


def _task(batch: Sequence[Slot], language: Language) -> str:
    topic, count = batch[0].topic, len(batch)
    head = say(
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
    return "\n".join([head, *lines])
