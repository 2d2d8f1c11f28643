"""The error for a config that is not described, in English and Chinese."""


class Undescribed(ValueError):  # noqa: N818 - it becomes an Unsupported, not a failure
    def __init__(self, reason: str, chinese: str) -> None:
        super().__init__(reason)
        self.chinese = chinese
