"""A measured figure beside the figure that is aimed at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`value` meets `target` when it is at least (`more`) or at most that. `note`: the figures behind it."""

    title: str
    target: float
    value: float
    note: str
    more: bool = True

    @property
    def met(self) -> bool:
        return self.value >= self.target if self.more else self.value <= self.target

    def __str__(self) -> str:
        target = f"{'>=' if self.more else '<='} {self.target:g}"
        return f"{self.title:60}{target:>8}{self.value:8.3g}  {'met' if self.met else 'MISSED':8}{self.note}"
