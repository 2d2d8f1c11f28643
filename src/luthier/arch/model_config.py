"""The configuration of a model folder's text model as transformers reads it, without what a folder must not decide.

A config.json may name an attention implementation, which transformers would look up as a kernel on the hub and run
(CVE-2026-4372 is of that kind). Which implementation computes is for Luthier to choose, so the name is dropped.
"""

from pathlib import Path
from typing import Any

from luthier.types.errors import BaseModelError, without_path
from luthier.weights import tensor_shapes


def load_config(folder: Path) -> Any:
    """transformers' config object; of a checkpoint with several towers, such as vision, that of the text model.

    Raises:
        BaseModelError
    """
    from transformers import AutoConfig

    try:
        config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever the config classes raise for values of any kind
        raise BaseModelError(
            f"The config.json of {folder.name} cannot be read: {without_path(error, folder)}"
        ) from error
    for part in (config, *(getattr(config, name, None) for name in config.sub_configs)):
        if hasattr(part, "_attn_implementation_internal"):
            part._attn_implementation_internal = None
    text = config.get_text_config(decoder=True)
    if text is not config and any(folder.glob("*.safetensors")):  # either part of the config may say otherwise
        text.tie_word_embeddings = not any(name.endswith("lm_head.weight") for name in tensor_shapes(folder))
    return text
