"""Messages that need no call, with their answers, built from the definitions alone.

They are thanks, small talk, requests that no function serves, and questions about what a function needs.
"""

from collections.abc import Sequence

from luthier.generate.functions.definitions import FunctionDefinition
from luthier.generate.functions.templates import join_list, request_phrase
from luthier.language import Language

_CHIT_CHAT: dict[Language, tuple[tuple[str, str], ...]] = {
    "zh": (
        ("谢谢，不用了。", "不客气，有需要随时告诉我。"),
        ("你能做什么？", "我可以{abilities}。"),
        ("今天天气怎么样？", "天气我查不了，我可以{abilities}。"),
        ("讲个笑话吧。", "笑话我不擅长，我可以{abilities}。"),
        ("现在几点了？", "我看不到时间，我可以{abilities}。"),
        ("刚才那件事先不办了。", "这件事先不办理，有需要再告诉我。"),
        ("1 加 1 等于几？", "1 加 1 等于 2。"),
        ("推荐一部电影。", "电影推荐我做不了，我可以{abilities}。"),
    ),
    "en": (
        ("Thanks, that is all.", "You're welcome. Tell me when you need anything else."),
        ("What can you do?", "I can {abilities}."),
        ("What is the weather like?", "The weather is beyond me; I can {abilities}."),
        ("Tell me a joke.", "Jokes are beyond me; I can {abilities}."),
        ("What time is it?", "I cannot see the time; I can {abilities}."),
        ("Never mind, leave it.", "Nothing is done. Tell me if you need it later."),
        ("What is one plus one?", "One plus one is two."),
        ("Recommend a film.", "Films are beyond me; I can {abilities}."),
    ),
}
_REQUIREMENTS: dict[Language, tuple[tuple[str, str], ...]] = {
    "zh": (
        ("{request}需要提供哪些信息？", "需要提供{labels}。"),
        ("想{request}的话，我该告诉你什么？", "请告诉我{labels}。"),
    ),
    "en": (("What do you need to know to {request}?", "I need the {labels}."),),
}
_OUT_OF_SCOPE: dict[Language, str] = {
    "zh": "这件事我办不了，我可以{abilities}。",
    "en": "I cannot do that; I can {abilities}.",
}


def no_call_dialogues(definitions: Sequence[FunctionDefinition], language: Language) -> list[tuple[str, str]]:
    """Pairs of a message and its answer."""
    abilities = _abilities(definitions, language)
    pairs = [(user, answer.format(abilities=abilities)) for user, answer in _CHIT_CHAT[language]]
    for definition in definitions:
        names = definition.required or definition.properties
        labels = join_list([definition.label(name, language) for name in names], language)
        fields = {"request": request_phrase(definition, language), "labels": labels}
        pairs += [
            (user.format(**fields), answer.format(**fields)) for user, answer in _REQUIREMENTS[language] if labels
        ]
    return pairs


def out_of_scope_answer(definitions: Sequence[FunctionDefinition], language: Language) -> str:
    """The answer to a request that none of the functions serves."""
    return _OUT_OF_SCOPE[language].format(abilities=_abilities(definitions, language))


def _abilities(definitions: Sequence[FunctionDefinition], language: Language) -> str:
    return join_list([request_phrase(definition, language) for definition in definitions[:3]], language)
