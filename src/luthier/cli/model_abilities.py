"""What of calls, turns and reasoning a base model on this machine can do, found from its chat template by probes."""

from pathlib import Path
from typing import Any

from luthier.language import say
from luthier.types.errors import BaseModelError


def abilities(folder: Path) -> dict[str, Any]:
    """For `models show`: form of calls, parallel calls, turns, reasoning, context in tokens; or why it is unusable."""
    from luthier.base_config import context_tokens
    from luthier.data.rendering.renderer import Renderer

    try:
        choice, context = Renderer(folder).choice, context_tokens(folder)
    except (BaseModelError, OSError, ValueError) as error:
        return {"unusable": str(error)}
    form = choice.form.name
    if choice.lost:
        lost = ", ".join(choice.lost)
        form = say(f"Luthier's own (its template loses: {lost})", f"Luthier 自己的格式（其对话模板会丢失：{lost}）")
    turns = say("as its template writes them", "按其对话模板")
    if choice.composed:
        turns = say("composed turn by turn", "逐轮组合")
    return {
        "calls": form,
        "parallel_calls": choice.parallel,
        "turns": turns,
        "reasoning": choice.has_reasoning,
        "context_tokens": context,
    }
