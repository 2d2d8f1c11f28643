"""Keywords without which the costly patterns of this package cannot match. One pass searches for all of them.

A word that is added to such a pattern must be added here, too, in every case that the pattern allows. A part of a long
word is enough; a part that several words share must not be so short that it is common.
"""

from functools import cache

from luthier.data.check.quality.keyword_automaton import KeywordAutomaton
from luthier.data.check.quality.misread_text import first_characters

# Refusals, and names of models and their makers (`refusal`).
_SPEAKERS = (
    "作为|身为|我是|我只|抱歉|对不起|不好意思|遗憾|截至|截止|sorr|Sorr|afra|n AI|n ai|n Ai|a AI|a ai|rtif|uage|"
    "I ca|I wo|I am|i ca|i wo|i am|I’m |enAI|enai|nAI |tGPT|tgpt|TGPT|t GP|t gp|GPT|gpt|ropi|ROPI|laud|LAUD|"
    "Gemi|gemi|GEMI|pmin|pMin|psee|pSee|PSEE|Qwen|qwen|QWEN|lama|LaMA|LAMA|Mist|mist|onsh|Kimi|kimi|"
    "KIMI|tGLM|tglm|MOSS|Moss|moss|nLLM|nllm|"
    "文心|通义|千问|豆包|智谱|讯飞|百川|混元|阿里云|百度|深度求索|复旦大学|y kn|y tr|Y KN"
)
# Keys and passwords (`secrets_and_pii`).
_SECRETS = (
    "PRIVATE|sk-|AKIA|ASIA|ghp|gho|ghu|ghs|ghr|github_|glpat|xox|AIza|hf_|k_live|LTAI|npm_|pypi-|eyJ|"
    "assw|ASSW|assp|ASSP|pwd|PWD|Pwd|密码|口令|api_|api-|api |apik|apiK|API_|API-|API |APIK|APIk|Api|"
    "ecre|ECRE|ss_t|ss-t|ss t|sst|ssT|SS_T|SS-T|SS T"
)
# Traces of text decoded with the wrong encoding (`language_script`).
_GARBLED = "\ufffd|ï¿½|锟斤拷|烫烫烫|屯屯屯|Ã|â€|Â|ä¸|" + "|".join(f"å{chr(code)}" for code in range(0x80, 0xC0))

# Escape sequences that were not decoded (`damaged_text`): of Excel, JSON, Python, HTML, URLs, quoted-printable mail.
ENTITIES = (
    "nbsp|amp|quot|lt|gt|apos|hellip|mdash|ndash|lsquo|rsquo|ldquo|rdquo|middot|bull|copy|times|deg|euro|laquo|raquo|"
    "eacute|egrave|agrave|ccedil|auml|ouml|uuml|szlig|ntilde"
)
_LEADS = ("E4", "E5", "E6", "E7", "E8", "E9")  # the first bytes of Han characters in UTF-8
_ESCAPES = ("_x00", "\\u", "\\x", "&#", *(f"&{name};" for name in ENTITIES.split("|")), "=C3=", "=E2=80=")
_ESCAPES += (
    *(f"={lead}=" for lead in _LEADS),
    *(f"%{lead}%" for lead in _LEADS),
    *(f"%{lead.lower()}%" for lead in _LEADS),
)

# The markers of calls and reasoning in a chat template, and invisible characters (`written_marks`).
_CALLS = ("_call>", "<function=", "[TOOL_CALLS]", "<|tool_call", "<|python_tag")
_REASONING = ("think>",)
_INVISIBLE = "\u202d\u202e\u2060\ufeff\u200b"
# Control characters, and the rest of a LaTeX command whose backslash and first letter were read as an escape
# (`damaged_text`). Tabs, line feeds and carriage returns by themselves are normal.
_CONTROLS = (
    *(chr(code) for code in range(1, 0x80) if not chr(code).isprintable() and chr(code) not in "\t\n\r"),
    *("\times", "\theta", "\text", "\tau", "\tanh", "\rho", "\right", "\rangle", "\rm{"),
    *("\neq", "\nabla", "\nu ", "\notin"),
)
# Blocks of code (`truncation`).
_FENCES = ("```",)

SPEAKERS, SECRETS, GARBLED, ESCAPES, CALLS, REASONING, INVISIBLE, CONTROLS, FENCES = range(9)


@cache
def keywords() -> KeywordAutomaton:
    """The automaton over all of them; building it takes some milliseconds."""
    garbled = {*_GARBLED.split("|"), *first_characters()}
    return KeywordAutomaton(
        _SPEAKERS.split("|"), _SECRETS.split("|"), garbled, _ESCAPES, _CALLS, _REASONING, _INVISIBLE, _CONTROLS, _FENCES
    )
