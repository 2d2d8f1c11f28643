"""Loading causal language models, also out of checkpoints that hold a vision or audio tower beside the text model."""

from pathlib import Path
from typing import Any

from luthier.types.errors import BaseModelError

# Names of text weights in a checkpoint of several towers -> names in the text model alone.
TEXT_WEIGHTS = {
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^model\.language_model\.": "model.",
}


def load_causal_lm(folder: Path, config: Any, **options: Any) -> Any:
    """The causal language model of a folder with `config`, as `load_config` returns it; weights as safetensors only.

    Args:
        options: of transformers' `from_pretrained`.

    Raises:
        BaseModelError: The folder lacks some of its weights.
        OSError, ValueError: As transformers raises them.
    """
    from transformers import AutoModelForCausalLM

    safe = {"trust_remote_code": False, "use_safetensors": True, "local_files_only": True}
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, config=config, key_mapping=TEXT_WEIGHTS, output_loading_info=True, **safe, **options
    )
    if missing := sorted(report["missing_keys"]):
        lacks = f"lacks {len(missing)} weights of a {type(model).__name__}, such as {missing[0]}"
        raise BaseModelError(f"The base model {folder.name} {lacks}.")
    return model
