"""The log of commands that run until they are stopped: one line per event, on stderr."""

import logging


def configure_logging(level: str) -> None:
    """Lines of Luthier from `level` on; of libraries only warnings."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("luthier").setLevel(level.upper())
