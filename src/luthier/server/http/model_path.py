"""Model names in route paths: they may hold `/` but do not end with it.

With Starlette's `path`, a trailing slash would be part of the name instead of being redirected, as on all other paths.
"""

from starlette.convertors import PathConvertor, register_url_convertor


class _ModelName(PathConvertor):
    regex = ".*[^/]"


register_url_convertor("model_name", _ModelName())


def model_in_path(parameter: str = "model") -> str:
    """The part of a route path that is a model's name."""
    return f"{{{parameter}:model_name}}"
