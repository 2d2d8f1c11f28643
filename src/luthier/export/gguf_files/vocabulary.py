"""The tokenizer of a base model as GGUF metadata: tokens, merges, special tokens, and the pre-tokenizer.

GGUF names the pre-tokenizer's regular expression, and the expression itself is in llama.cpp's code. A tokenizer with an
expression that llama.cpp does not have is refused, since it would tokenize texts differently from training.
"""

import json
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, SpecialVocab, TokenType
from tokenizers import Tokenizer

from luthier.data.rendering.renderer import Renderer
from luthier.language import say
from luthier.types.errors import ExportError

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# llama.cpp's names of these expressions.
_PATTERNS = {_LLAMA3: "llama-bpe", _QWEN2: "qwen2", _TEKKEN: "tekken"}


def add_vocabulary(writer: GGUFWriter, folder: Path, renderer: Renderer, rows: int) -> None:
    """Adds the tokenizer of the base in `folder`, and the chat template of `renderer`.

    `rows` is the number of embeddings; those that belong to no token get placeholder names.

    Raises:
        ExportError: llama.cpp does not have the tokenizer's expression.
    """
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps(document))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pattern_name(document, folder.name))
    texts, types = _tokens(tokenizer, rows)
    writer.add_token_list(texts)
    writer.add_token_types(types)
    special = SpecialVocab(folder, load_merges=True, n_vocab=rows)
    special.chat_template = renderer.template.text
    special.add_special_token.pop("bos", None)
    special.add_to_gguf(writer, quiet=True)
    if not special.merges:  # llama.cpp rejects a file without merges; this pair never occurs in text
        writer.add_token_merges(["[PAD] [PAD]"])
    writer.add_add_bos_token(_adds_bos(tokenizer))
    ends = renderer.stop_ids - {special.special_token_ids.get("eos")}
    if ends and "eot" not in special.special_token_ids:
        writer.add_eot_token_id(min(ends))


def pattern_name(document: dict[str, Any], base: str) -> str:
    """llama.cpp's name of the pre-tokenizer in `document`, a tokenizer.json. Raises ExportError if it has none."""
    model, pre = document["model"], document.get("pre_tokenizer") or {}
    parts = pre["pretokenizers"] if pre.get("type") == "Sequence" else [pre]
    kinds = [part.get("type") for part in parts]
    is_byte_level = model.get("type") == "BPE" and kinds[-1:] == ["ByteLevel"]
    if is_byte_level and not parts[-1].get("add_prefix_space"):
        if kinds == ["ByteLevel"]:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and parts[0]["pattern"].get("Regex") in _PATTERNS:
            return _PATTERNS[parts[0]["pattern"]["Regex"]]
    raise ExportError(
        say(
            f"The tokenizer of {base} splits texts in a way that the GGUF export does not support "
            f"({model.get('type')}; {', '.join(map(str, kinds))}). Export merged, and convert the folder with "
            "llama.cpp's convert_hf_to_gguf.py.",
            f"GGUF 导出不支持 {base} 的分词方式（{model.get('type')}；{', '.join(map(str, kinds))}）。请导出 merged，"
            "再用 llama.cpp 的 convert_hf_to_gguf.py 转换该文件夹。",
        )
    )


def _tokens(tokenizer: Tokenizer, rows: int) -> tuple[list[str], list[TokenType]]:
    by_id = {number: text for text, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    added = tokenizer.get_added_tokens_decoder()
    texts, types = [], []
    for number in range(rows):
        texts.append(by_id.get(number, f"[PAD{number}]"))
        if number not in by_id:
            types.append(TokenType.UNUSED)
        elif number in added:
            types.append(TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED)
        else:
            types.append(TokenType.NORMAL)
    return texts, types


def _adds_bos(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer adds a special token to plain text."""
    return tokenizer.encode("a").ids != tokenizer.encode("a", add_special_tokens=False).ids
