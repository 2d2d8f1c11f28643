"""Grammar rules for members in any order, of which some are required."""

from collections.abc import Iterator, Sequence

# Tracking which members are missing takes two to the power of their number in rules. Untracked required members are in
# order, and untracked optional ones may be repeated.
_MAX_REQUIRED = 6


def member_rules(rule: str, required: Sequence[str], optional: Sequence[str], end: str) -> Iterator[str]:
    """The rule `rule`: each of `required`, and any of `optional`, in any order, then `end`; all of them Lark.

    With many required members these come first, in order.
    """
    first = required if len(required) > _MAX_REQUIRED else ()
    tracked = () if first else required
    yield " ".join([f"{rule}:", *first, f"{rule}_s{2 ** len(tracked) - 1}"])
    # The rule `…_s5` matches what may follow while the required members 0 and 2 (the bits of 5) are missing.
    for missing in range(2 ** len(tracked)):
        choices = [] if missing else [end]
        choices += [f"{name} {rule}_s{missing - 2**bit}" for bit, name in enumerate(tracked) if missing & 2**bit]
        choices += [f"{name} {rule}_s{missing}" for name in optional]
        yield f"{rule}_s{missing}: " + " | ".join(choices)
