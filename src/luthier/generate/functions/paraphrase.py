"""Requests a teacher's texts about functions: parameter values, phrasings, and messages that need no call.

Each is requested as a numbered list. The texts are not verified here.
"""

import json
from collections.abc import Sequence

from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.enumerate import Invocation
from luthier.generate.list_prompts import ListPrompter, with_existing_texts
from luthier.language import Language, say

VALUES_PER_REQUEST = 20
MESSAGES_PER_REQUEST = 20  # messages that need no call; more would exceed the max_tokens of some services


async def request_values(
    lists: ListPrompter, definition: FunctionDefinition, name: str, language: Language
) -> list[str]:
    """Realistic values for the text parameter `name`."""
    system = say(
        "You invent realistic values for the parameters of functions. Each line is one value, nothing around it.",
        "你负责为函数的参数编写真实可信的取值。每一条就是一个值，不加任何说明。",
        language,
    )
    schema = json.dumps(definition.properties[name], ensure_ascii=False)
    prompt = say(
        f"Function: {definition.name} ({definition.description})\nParameter: {name} {schema}\n"
        f"Write {VALUES_PER_REQUEST} different values that real users would mean.",
        f"函数：{definition.name}（{definition.description}）\n参数：{name} {schema}\n"
        f"写出 {VALUES_PER_REQUEST} 个各不相同、真实用户会用到的取值。",
        language,
    )
    slot = f"values/{definition.name}/{name}"
    reply = await lists.request_list(slot, system, prompt, VALUES_PER_REQUEST, language, tokens_per_text=30)
    return reply.ordered()


async def request_phrasings(
    lists: ListPrompter, slot: str, batch: Sequence[Invocation], each: int, language: Language
) -> list[list[str]]:
    """For each invocation, up to `each` user messages that ask for it."""
    system = say(
        "You write what users type when they want something done. Each line is the user's own message: direct, varied "
        "in tone, length and order, with every value of the call in it unchanged, and without function or parameter "
        "names.",
        "你负责写下用户想办一件事时输入的话。每一条就是用户的原话：语气、长短、先后顺序各不相同，"
        "调用里的每个值都原样出现在话里，不出现函数名和参数名。",
        language,
    )
    lines = []
    for index, call in enumerate(batch):
        numbers = ", ".join(str(index * each + offset + 1) for offset in range(each))
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        lines.append(f"{numbers}: {call.definition.name}({arguments}) — {call.definition.description}")
    count = len(batch) * each
    prompt = say(
        f"Write {count} messages; the numbers before a call are the messages that ask for it:\n",
        f"写出 {count} 条用户消息；调用前面的编号就是要写的消息，它们要表达的正是这个调用：\n",
        language,
    ) + "\n".join(lines)
    texts = (await lists.request_list(slot, system, prompt, count, language, tokens_per_text=100)).texts
    return [[texts[n] for n in range(index * each + 1, (index + 1) * each + 1) if n in texts]
            for index in range(len(batch))]  # fmt: skip


async def request_no_call_messages(
    lists: ListPrompter,
    slot: str,
    definitions: Sequence[FunctionDefinition],
    count: int,
    language: Language,
    existing: Sequence[str],
) -> list[str]:
    """Messages about the functions' subjects that none of them can serve, other than the `existing` ones."""
    system = say(
        "You write what users type to an assistant. Each line is one message.",
        "你负责写下用户对助理说的话，每一条是一句话。",
        language,
    )
    abilities = "\n".join(f"- {definition.name}: {definition.description}" for definition in definitions)
    prompt = say(
        f"The assistant can call these functions:\n{abilities}\nWrite {count} messages for which none of them should "
        "be called: questions about the subject, small talk, and wishes that no function covers.",
        f"助理可以调用这些函数：\n{abilities}\n写出 {count} 条不应该调用其中任何函数的消息：与主题有关的一般问题、"
        "闲聊、以及没有函数能办的要求。",
        language,
    )
    heading = say(
        "\nThese exist already; do not repeat or rephrase them:",
        "\n已经有下面这些消息，不要重复，也不要换个说法再写：",
        language,
    )
    reply = await lists.request_list(slot, system, with_existing_texts(prompt, heading, existing), count, language)
    return [reply.texts[number] for number in sorted(reply.texts)]
