"""Backend: which features one implementation of the layers supports."""

from dataclasses import dataclass

from luthier.arch.decoder import DecoderSpec, Unsupported
from luthier.arch.features import Feature, listed


@dataclass(frozen=True)
class Backend:
    """`name`: as error messages call it, such as "the engine native"."""

    name: str
    supported: frozenset[Feature]

    def refusal(self, spec: DecoderSpec | Unsupported) -> str | None:
        """Why it cannot compute the decoder; None if it can."""
        if isinstance(spec, Unsupported):
            return f"{self.name} does not support this architecture: {spec.reason}"
        missing = spec.features - self.supported
        return f"{self.name} does not support {listed(missing)}" if missing else None
