"""Backend: the features that one implementation of the layers supports."""

from dataclasses import dataclass

from luthier.arch.decoder import DecoderSpec, Unsupported
from luthier.arch.features import Feature, listed
from luthier.language import Language, say


@dataclass(frozen=True)
class Backend:
    """`name` and `chinese`: as error messages call it, such as "the engine native"."""

    name: str
    chinese: str
    supported: frozenset[Feature]

    def refusal(self, spec: DecoderSpec | Unsupported, language: Language | None = "en") -> str | None:
        """The reason why it cannot compute the decoder, in `language` or that of the environment; None if it can."""
        if isinstance(spec, Unsupported):
            return say(
                f"{self.name} does not support this architecture: {spec.reason}",
                f"{self.chinese}不支持这种架构：{spec.chinese}",
                language,
            )
        missing = spec.features - self.supported
        if not missing:
            return None
        return say(
            f"{self.name} does not support {listed(missing)}",
            f"{self.chinese}不支持：{listed(missing, 'zh')}",
            language,
        )
