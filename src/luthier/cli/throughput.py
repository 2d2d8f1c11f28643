"""The training throughput for `luthier estimate`, from jobs and measurements under a load like the present one.

If there are none, a child process measures it for some seconds; the result is stored with its date and load.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from luthier.catalogue.rates import (
    MIN_STEPS,
    Rate,
    add_rate,
    load_per_core,
    newest_measurement,
    rate_key,
    read_rates,
)
from luthier.catalogue.training_speed import Speed, weight_bytes
from luthier.cli.output import note, spinner
from luthier.language import say

if TYPE_CHECKING:
    from luthier.settings import Settings

_TIMEOUT_S = 600
_SPREAD = 1.25  # if the highest and the lowest rate differ by a larger factor, a range is shown


@dataclass(frozen=True)
class Throughput:
    """The throughput of this machine.

    Attributes:
        rates: The rates of jobs and measurements under a load like the present one.
        measurement: The last measurement, which also has memory and sizes.
        load: The present load per core; None where the system does not report it.
    """

    rates: Sequence[Rate]
    measurement: Rate
    load: float | None

    @property
    def tokens_per_s(self) -> float:
        """The median rate of jobs, which trained on real data, else of measurements, in tokens per second."""
        jobs = [rate.tokens_per_s for rate in self.rates if rate.source == "job"]
        return median(jobs or [rate.tokens_per_s for rate in self.rates])

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest rate; both are the median if they hardly differ."""
        speeds = [rate.tokens_per_s for rate in self.rates]
        low, high = min(speeds), max(speeds)
        return (low, high) if high > _SPREAD * low else (self.tokens_per_s, self.tokens_per_s)

    def to_dict(self) -> dict[str, Any]:
        """The throughput as --json prints it: the rate, its origin, memory, and sizes."""
        newest = self.rates[-1]
        counts = {f"{source}s": sum(rate.source == source for rate in self.rates) for source in ("job", "measurement")}
        about = {"steps": newest.steps, "measured_at": newest.measured_at, "load": newest.load, "load_now": self.load}
        return {**self.measurement.details, "tokens_per_s": self.tokens_per_s, **counts, **about}

    def origin(self) -> str:
        """A phrase that says where the rate comes from, with date, steps and load."""
        newest = self.rates[-1]
        sources = [
            text
            for source, en, zh in (("job", "jobs", "个任务"), ("measurement", "measurements", "次实测"))
            if (count := sum(rate.source == source for rate in self.rates))
            for text in [say(f"{count} {en if count > 1 else en[:-1]}", f"{count} {zh}")]
        ]
        date = datetime.fromtimestamp(newest.measured_at).strftime("%Y-%m-%d %H:%M")
        unit = say("step" if newest.steps == 1 else "steps", "步")
        load = "" if newest.load is None else say(f", load {newest.load:g} per core", f"，每核负载 {newest.load:g}")
        sources_text = say(" and ", "和 ").join(sources)
        return say(
            f"by {sources_text}, the last on {date} over {newest.steps} {unit}{load}",
            f"依据 {sources_text}，最近一次 {date}，{newest.steps} {unit}{load}",
        )


def known_throughput(settings: Settings, cache: Path, base: Path, *, full: bool = False) -> Throughput | None:
    """The known throughput of this machine under a load like the present one; None if there is none."""
    rates = read_rates(cache, rate_key(base, settings.device, settings.precision, settings.threads, full=full))
    measurement, load = newest_measurement(rates), load_per_core()
    similar = [rate for rate in rates if rate.is_like(load)]
    return Throughput(similar, measurement, load) if measurement and similar else None


def throughput(
    settings: Settings, cache: Path, base: Path, *, full: bool = False, again: bool = False
) -> Throughput | None:
    """The throughput of this machine now, measured if nothing is known.

    Args:
        full: Full fine-tuning instead of LoRA.
        again: Measure even if the throughput is known.

    Returns:
        None if nothing is known and measuring failed, which a notice on stderr reports.
    """
    recent = known_throughput(settings, cache, base, full=full)
    if recent and not again:
        return recent
    key = rate_key(base, settings.device, settings.precision, settings.threads, full=full)
    rates, load = read_rates(cache, key), load_per_core()
    _announce(rates, load, again=again)
    measured = _measure(settings, cache, base, full, load)
    if measured is None:
        measurement = newest_measurement(rates)
        return Throughput([measurement], measurement, load) if measurement else None
    add_rate(cache, key, measured)
    if measured.steps < MIN_STEPS:
        note(say(f"The rate below is based on only {measured.steps} step(s) and will be measured again next time.",
                 f"下面的速度只依据 {measured.steps} 步，下次会重新测量。"), "yellow")  # fmt: skip
    similar = [] if again else [rate for rate in rates if rate.is_like(load)]
    return Throughput([*similar, measured], measured, load)


def known_speeds(settings: Settings, cache: Path, folders: Mapping[str, Path]) -> dict[str, Speed]:
    """Base → known speed; if none is known, the smallest base is measured, as for `luthier estimate`."""
    by_base = {name: known_throughput(settings, cache, folder) for name, folder in folders.items()}
    if folders and not any(by_base.values()):
        smallest = min(folders, key=lambda name: weight_bytes(folders[name]))
        by_base[smallest] = throughput(settings, cache, folders[smallest])
    return {
        name: Speed(
            rates.tokens_per_s, int(rates.measurement.details["peak_memory_bytes"]), weight_bytes(folders[name])
        )
        for name, rates in by_base.items()
        if rates
    }


def _announce(rates: Sequence[Rate], load: float | None, *, again: bool) -> None:
    text = say("Measuring the training throughput of this machine (up to a minute) …",
               "正在测量本机的训练速度（最多约一分钟）……")  # fmt: skip
    last = rates[-1] if rates else None
    if last and not again and last.load is not None and load is not None and not last.is_like(load):
        text = say(f"The load per core was {last.load:g} during the measurement and is {load:g} now. ",
                   f"上次测量时每核负载为 {last.load:g}，现在为 {load:g}。") + text  # fmt: skip
    note(text)


def _measure(settings: Settings, cache: Path, base: Path, full: bool, load: float | None) -> Rate | None:
    command = [sys.executable, "-P", "-m", "luthier.training.throughput", str(base), "--device", settings.device]
    command += ["--precision", settings.precision, "--threads", str(settings.threads)]
    command += ["--cache", str(cache), "--tuning", "full" if full else "lora"]
    try:
        with spinner(say("Measuring …", "正在测量……")):
            process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        details: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        output = process.stderr.strip().splitlines() if not isinstance(error, subprocess.TimeoutExpired) else []
        cause = output[-1] if output else type(error).__name__
        note(say(f"The throughput could not be measured: {cause}", f"无法测量训练速度：{cause}"), "yellow")
        return None
    tokens_per_s, steps = details.pop("tokens_per_s"), details.pop("steps")
    return Rate(tokens_per_s, steps, int(time.time()), load, "measurement", details)
