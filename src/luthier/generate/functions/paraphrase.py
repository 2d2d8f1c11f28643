"""What a teacher adds to function definitions: values, phrasings, and messages that need no call.

Everything comes as numbered lists and is held against schemas and values by others. Knows no files.
"""

import json
from collections.abc import Sequence

from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.enumerate import Invocation
from luthier.generate.list_prompts import Lists, with_earlier
from luthier.language import Language, say

VALUES = 20
MESSAGES = 20  # that need no call, per request: the limit of tokens grows with them, and services have one


async def values(lists: Lists, definition: Definition, name: str, language: Language) -> list[str]:
    """Realistic values of a parameter of plain text."""
    system = say(
        "You invent realistic values for the parameters of functions. Each line is one value, nothing around it.",
        "你负责为函数的参数编写真实可信的取值。每一条就是一个值，不加任何说明。",
        language,
    )
    schema = json.dumps(definition.properties[name], ensure_ascii=False)
    wish = say(
        f"Function: {definition.name} ({definition.description})\nParameter: {name} {schema}\n"
        f"Write {VALUES} different values that real users would mean.",
        f"函数：{definition.name}（{definition.description}）\n参数：{name} {schema}\n"
        f"写出 {VALUES} 个各不相同、真实用户会用到的取值。",
        language,
    )
    found = await lists.ask(f"values/{definition.name}/{name}", system, wish, VALUES, language, tokens_each=30)
    return list(dict.fromkeys(found[number] for number in sorted(found)))


async def phrasings(
    lists: Lists, slot: str, batch: Sequence[Invocation], each: int, language: Language
) -> list[list[str]]:
    """For each invocation what came, up to `each`."""
    system = say(
        "You write what users type when they want something done. Each line is the user's own message: direct, varied "
        "in tone, length and order, with every value of the call in it unchanged, and without function or parameter "
        "names.",
        "你负责写下用户想办一件事时输入的话。每一条就是用户的原话：语气、长短、先后顺序各不相同，"
        "调用里的每个值都原样出现在话里，不出现函数名和参数名。",
        language,
    )
    lines = []
    for place, call in enumerate(batch):
        numbers = ", ".join(str(place * each + turn + 1) for turn in range(each))
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        lines.append(f"{numbers}: {call.definition.name}({arguments}) — {call.definition.description}")
    count = len(batch) * each
    wish = say(
        f"Write {count} messages; the numbers before a call are the messages that ask for it:\n",
        f"写出 {count} 条用户消息；调用前面的编号就是要写的消息，它们要表达的正是这个调用：\n",
        language,
    ) + "\n".join(lines)
    found = await lists.ask(slot, system, wish, count, language, tokens_each=100)
    return [[found[n] for n in range(place * each + 1, (place + 1) * each + 1) if n in found]
            for place in range(len(batch))]  # fmt: skip


async def no_call_messages(
    lists: Lists, slot: str, definitions: Sequence[Definition], count: int, language: Language, earlier: Sequence[str]
) -> list[str]:
    """Messages near the functions' subjects that none of them can serve, shown the `earlier` ones."""
    system = say(
        "You write what users type to an assistant. Each line is one message.",
        "你负责写下用户对助理说的话，每一条是一句话。",
        language,
    )
    able = "\n".join(f"- {one.name}: {one.description}" for one in definitions)
    wish = say(
        f"The assistant can call these functions:\n{able}\nWrite {count} messages for which none of them should be "
        "called: questions about the subject, small talk, and wishes that no function covers.",
        f"助理可以调用这些函数：\n{able}\n写出 {count} 条不应该调用其中任何函数的消息：与主题有关的一般问题、闲聊、"
        "以及没有函数能办的要求。",
        language,
    )
    head = say(
        "\nThese exist already; do not repeat or rephrase them:",
        "\n已经有下面这些消息，不要重复，也不要换个说法再写：",
        language,
    )
    found = await lists.ask(slot, system, with_earlier(wish, head, earlier), count, language)
    return [found[number] for number in sorted(found)]
