"""Finds the variables that a chat template reads, beside the conversation."""

from jinja2 import meta, nodes

# Variables that a request must not set: the renderer sets them, or they configure Luthier's own templates.
_RENDERER = frozenset(("messages", "tools", "add_generation_prompt", "bos_token", "eos_token", "pad_token"))
_LUTHIER = frozenset(("opening", "knows_reasoning", "system_in_user_turn"))


def template_variables(tree: nodes.Template) -> frozenset[str]:
    """The names that the template reads before it sets them.

    Jinja's own analysis also includes names that are set in one branch and read in another. So a name that the template
    sets counts only if the template tests whether it is defined, or has a default for it.
    """
    set_names = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    optional = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in ("defined", "undefined", "default", "d") and isinstance(node.node, nodes.Name)
    }
    not_of_requests = _RENDERER | _LUTHIER | (tree.environment.globals.keys() if tree.environment else set())
    return frozenset(meta.find_undeclared_variables(tree) - (set_names - optional) - not_of_requests)
