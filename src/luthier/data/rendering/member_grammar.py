"""Grammar rules for members in any order, some of which are required."""

from collections.abc import Iterator, Sequence

# Tracking n missing members takes 2**n rules. Beyond this number, required members must come in order. Optional members
# are never tracked and may be repeated.
_MAX_REQUIRED = 6


def member_rules(
    rule: str, required: Sequence[str], optional: Sequence[str], end: str, separator: str = ""
) -> Iterator[str]:
    """The rule `rule`: each of `required` and any of `optional`, in any order, then `end`. All parameters are Lark.

    If there are many required members, they come first, in order. `separator` is written between two members.
    """
    ordered = required if len(required) > _MAX_REQUIRED else ()
    tracked = () if ordered else required
    between = f"{separator} " if separator else ""

    def choices(missing: int, before: str) -> str:
        """What may follow while required members are missing: for 5, members 0 and 2 (its bits)."""
        members = [(name, missing - 2**bit) for bit, name in enumerate(tracked) if missing & 2**bit]
        members += [(name, missing) for name in optional]
        ends = [] if missing else [end]
        return " | ".join([*ends, *(f"{before}{name} {rule}_s{rest}" for name, rest in members)])

    all_missing = 2 ** len(tracked) - 1
    if ordered:
        yield f"{rule}: {f' {between}'.join(ordered)} {rule}_s0"
    else:
        yield f"{rule}: {choices(all_missing, '')}"
    for missing in range(all_missing + 1):
        yield f"{rule}_s{missing}: {choices(missing, between)}"
