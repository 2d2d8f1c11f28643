"""Refusals, and answers that name the model or its maker.

Whether a refusal is intended is for a person to decide.
"""

import re

# Every match of these patterns contains one of `keywords`: other texts are not searched.
_OPENING_LENGTH = 200  # characters; a refusal that comes later is part of an answer

_CANNOT = r"(?:can(?:no|['’])t|cannot|am unable|am not able|won['’]t)"
_REFUSES = re.compile(
    r"(?:作为|身为|我只?是)一?[个名款]?[^，。！\n]{0,8}(?:AI|人工智能|语言模型|文本程序|聊天机器人|大模型)[^。！？\n]{0,20}"
    r"(?:无法|不能|没有办法|没法|不具备|没有(?:能力|个人|自己))"
    r"|(?:抱歉|对不起|不好意思|很遗憾)[，,！!。]?[^。！？\n]{0,24}(?:我|本助手)[^。！？\n]{0,12}"
    r"(?:无法(?:回答|提供|协助|帮助|满足|完成|处理|生成)|不能(?:回答|提供|协助|帮助|满足|讨论)|没有办法|没法)"
    r"|as an? (?:ai|artificial intelligence|large language model|language model)\b[^.!?\n]{0,60}"
    r"\b(?:can(?:no|['’])t|cannot|unable|not able|don['’]t have|do not have|am not)\b"
    rf"|\bi(?:['’]m| am) (?:sorry|afraid)[^.!?\n]{{0,24}}\b(?:i|we) {_CANNOT}\b"
    rf"|^\W{{0,3}}i {_CANNOT}(?: to)? (?:help|assist|provide|answer|comply|fulfil|discuss|create)",
    re.IGNORECASE,
)
_MAKERS = (
    r"(?:open ?ai|chat ?gpt|gpt-?[345][\w.-]*|anthropic|claude|gemini|google deepmind|deepseek|qwen|llama|mistral|"
    r"moonshot|kimi|文心一言|文心|通义千问|通义|千问|豆包|智谱|chatglm|讯飞星火|百川|混元|moss|disc-finllm|阿里云|百度|"
    r"深度求索|复旦大学)"
)
_NAMES_ITSELF = re.compile(
    rf"(?:我(?:是|叫|的名字是|名叫)|称呼我为)[^。！？\n]{{0,16}}{_MAKERS}"
    rf"|我是(?:一[个名款])?由[^。！？，\n]{{1,24}}(?:开发|训练|研发|创建|推出|创造)的"
    rf"|\b(?:i am|i['’]m|my name is|call me|this is)\b[^.!?\n]{{0,24}}\b{_MAKERS}\b"
    rf"|\bi (?:was|am|have been) (?:developed|trained|created|made|built) by (?:\w+ ){{0,3}}{_MAKERS}\b"
    r"|\bas an ai (?:language )?model (?:developed|trained|created|made) by\b"
    r"|(?:截至|截止)我的知识|\bmy (?:knowledge|training) (?:cut-?off|data)\b",
    re.IGNORECASE,
)


def is_refusal(text: str) -> bool:
    """Whether the text begins by declining to answer, as a chat model does."""
    return bool(_REFUSES.search(text[:_OPENING_LENGTH]))


def named_maker(text: str) -> str | None:
    """The words by which the speaker names a model or its maker; None without any."""
    match = _NAMES_ITSELF.search(text)
    return match.group() if match else None
