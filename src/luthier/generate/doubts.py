"""The doubts about one reply that `luthier.data.quality` knows, asked one text at a time.

The only file here that knows where those detectors live.
"""

import re

from luthier.data.quality.preamble import strip_preamble

__all__ = ["ends_cut_off", "leaks_identity", "refuses", "strip_preamble"]


def ends_cut_off(text: str) -> bool:
    return bool(re.search(r"[，、：；,]$", text))


def leaks_identity(text: str) -> bool:
    return bool(re.search(r"我是(一个)?(由.{2,12}(开发|训练)|ChatGPT|通义|文心|豆包)|I am ChatGPT", text))


def refuses(text: str) -> bool:
    return bool(re.match(r"(抱歉|对不起|很抱歉|作为一个?AI|I'm sorry|As an AI)", text))
