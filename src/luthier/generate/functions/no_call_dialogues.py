"""Messages for which no function is to be called, with their answers, made of the definitions alone.

Thanks, small talk, wishes beyond the functions, and questions about what a function needs. Knows words and no schemas.
"""

from collections.abc import Sequence

from luthier.generate.functions.definitions import Definition
from luthier.generate.functions.templates import listed, wish_of
from luthier.language import Language

_TALK: dict[Language, tuple[tuple[str, str], ...]] = {
    "zh": (
        ("谢谢，不用了。", "不客气，有需要随时告诉我。"),
        ("你能做什么？", "我可以{able}。"),
        ("今天天气怎么样？", "天气我查不了，我可以{able}。"),
        ("讲个笑话吧。", "笑话我不擅长，我可以{able}。"),
        ("现在几点了？", "我看不到时间，我可以{able}。"),
        ("刚才那件事先不办了。", "这件事先不办理，有需要再告诉我。"),
        ("1 加 1 等于几？", "1 加 1 等于 2。"),
        ("推荐一部电影。", "电影推荐我做不了，我可以{able}。"),
    ),
    "en": (
        ("Thanks, that is all.", "You're welcome. Tell me when you need anything else."),
        ("What can you do?", "I can {able}."),
        ("What is the weather like?", "The weather is beyond me; I can {able}."),
        ("Tell me a joke.", "Jokes are beyond me; I can {able}."),
        ("What time is it?", "I cannot see the time; I can {able}."),
        ("Never mind, leave it.", "Nothing is done. Tell me if you need it later."),
        ("What is one plus one?", "One plus one is two."),
        ("Recommend a film.", "Films are beyond me; I can {able}."),
    ),
}
_ABOUT: dict[Language, tuple[tuple[str, str], ...]] = {
    "zh": (
        ("{wish}需要提供哪些信息？", "需要提供{labels}。"),
        ("想{wish}的话，我该告诉你什么？", "请告诉我{labels}。"),
    ),
    "en": (("What do you need to know to {wish}?", "I need the {labels}."),),
}
_BEYOND: dict[Language, str] = {"zh": "这件事我办不了，我可以{able}。", "en": "I cannot do that; I can {able}."}


def small_talk(definitions: Sequence[Definition], language: Language) -> list[tuple[str, str]]:
    """Each message with its answer."""
    able = _able(definitions, language)
    pairs = [(user, answer.format(able=able)) for user, answer in _TALK[language]]
    for one in definitions:
        labels = listed([one.label(name, language) for name in one.required or one.properties], language)
        words = {"wish": wish_of(one, language), "labels": labels}
        pairs += [(user.format(**words), answer.format(**words)) for user, answer in _ABOUT[language] if labels]
    return pairs


def cannot(definitions: Sequence[Definition], language: Language) -> str:
    """The answer to a wish for which no function is there."""
    return _BEYOND[language].format(able=_able(definitions, language))


def _able(definitions: Sequence[Definition], language: Language) -> str:
    return listed([wish_of(one, language) for one in definitions[:3]], language)
