"""Folders with a tokenizer and a chat template and without weights, and small templates in the manner of families."""

import json
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from luthier.data.rendering.renderer import Renderer

# One user or assistant turn after the other, no functions, the system message in the first user turn.
NO_FUNCTIONS = """{{ bos_token }}
{%- set first = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' -%}
{%- for message in (messages[1:] if first else messages) -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('roles must alternate') }}{%- endif -%}
{{- '<start>' + ('model' if message.role == 'assistant' else message.role) + '\\n' + (first if loop.first else '') -}}
{{- message.content | trim + '<end>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start>model\\n' }}{%- endif -%}"""

# Ends a whole conversation with the token that ends texts.
ENDS_CONVERSATIONS = """{% for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + '<end>\\n' }}\
{% endfor %}{{ '<|assistant|>\\n' if add_generation_prompt else eos_token }}"""

# Reasoning is opened by the prompt and left out of earlier answers; no system turn.
REASONS = """{% for message in messages %}{% if message.role == 'user' %}{{ '<user>' + message.content }}\
{% elif message.role == 'assistant' %}{{ '<assistant>' + message.content.split('</think>')[-1] + '<end>' }}\
{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<assistant><think>\\n' }}{% endif %}"""

# Reasoning may be turned off, and is written with the last answer alone.
SWITCHES = """{% for message in messages %}{{ '<start>' + message.role + '\\n' }}\
{% if message.role == 'assistant' and loop.last %}\
{{ '<think>\\n' + (message.reasoning_content or '') + '\\n</think>\\n\\n' }}\
{% endif %}{{ message.content + '<end>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start>assistant\\n' }}\
{% if enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""

# The mark of the next turn ends an answer.
NO_END = """{% for message in messages %}{{ '<' + message.role + '>\\n' + message.content }}{% endfor %}\
{% if add_generation_prompt %}{{ '<assistant>\\n' }}{% endif %}"""

# In the manner of Mistral Nemo: definitions and system message stand at the last question, ids have nine characters.
LAST_QUESTION = """{{ bos_token }}{%- set first = 1 if messages[0].role == 'system' else 0 -%}
{%- set ns = namespace(last=0) -%}{%- for message in messages -%}
{%- if message.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}
{%- for message in messages -%}{%- if message.role == 'user' -%}
{%- if tools and loop.index0 == ns.last -%}
{{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' -}}{%- endif -%}
{{- '[INST]' + (messages[0].content + '\n\n' if first and loop.index0 == ns.last else '') + message.content -}}
{{- '[/INST]' -}}{%- elif message.tool_calls -%}CALLS{{- '<eos>' -}}
{%- elif message.role == 'assistant' -%}{{- message.content + '<eos>' -}}
{%- elif message.role == 'tool' -%}
{%- if message.tool_call_id | length != 9 -%}{{- raise_exception('ids have nine characters') -}}{%- endif -%}
{{- '[TOOL_RESULTS]' + ({'content': message.content, 'call_id': message.tool_call_id} | tojson) + '[/TOOL_RESULTS]' -}}
{%- endif -%}{%- endfor -%}"""
_LISTED = """{{- '[TOOL_CALLS] [' -}}{%- for call in message.tool_calls -%}{{- '' if loop.first else ', ' -}}
{{- '{"name": ' + (call.function.name | tojson) + ', "arguments": ' + (call.function.arguments | tojson) -}}
{{- ', "id": "' + call.id + '"}' -}}{%- endfor -%}{{- ']' -}}"""
_NAMED = """{%- for call in message.tool_calls -%}
{{- '[TOOL_CALLS]' + call.function.name + '[ARGS]' + (call.function.arguments | tojson) -}}{%- endfor -%}"""
CALLS_LISTED, CALLS_NAMED = (LAST_QUESTION.replace("CALLS{{", calls + "{{") for calls in (_LISTED, _NAMED))

MARKS = (
    "<start>",
    "<end>",
    "<user>",
    "<assistant>",
    "<system>",
    "<tool>",
    "<|user|>",
    "<|assistant|>",
    "<bos>",
    "<eos>",
)


MISTRAL_MARKS = (
    "[TOOL_CALLS]", "[ARGS]", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "<bos>",
)  # fmt: skip


def write_base(
    folder: Path, template: str, marks: Sequence[str] = MARKS, end: str = "<eos>", added: Sequence[str] = ()
) -> Path:
    """A folder with a token per byte, per mark and per text in `added`, which are not special, and this template."""
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in dict.fromkeys([*marks, end])])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>", "eos_token": end}))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


def trained_text(renderer: Renderer, example: object) -> str:
    """What an example trains, as text."""
    rendered = renderer.example(example)
    return renderer.decode([token for token, weight in zip(rendered.ids, rendered.weights, strict=True) if weight])
