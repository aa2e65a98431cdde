"""The machines that a plan can be for, and how fast training was measured to be on them."""

import difflib
import math
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from tongwen.errors import InputError, UsageError

THIS = "this"
"""Names the machine that the planner runs on."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One card, and what joins it to others; see `devices.toml` for the units."""

    name: str
    peak_tflops: float
    memory_gib: float
    memory_gbs: float
    link_gbs: float
    network_gbs: float
    power_watts: float
    price_per_hour: float | None = None
    price_source: str = "your file"
    cards_per_node: int = 8
    is_cpu: bool = False
    uses_bf16: bool = True

    @property
    def peak_flops(self) -> float:
        """A second."""
        return self.peak_tflops * 1e12

    @property
    def memory_bytes(self) -> int:
        return round(self.memory_gib * 2**30)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The share of a device's peak that a training step reached."""

    device: str
    by: str
    parameters: float
    sequence_tokens: int
    cards: int
    mfu: float
    source: str


@dataclass(frozen=True)
class Devices:
    """The table, our own rows first."""

    devices: dict[str, Device]
    measured: tuple[Measured, ...]

    @classmethod
    def load(cls, own: Path | None = None) -> "Devices":
        """The packaged table, and over it the rows of a user's file.

        Raises:
            InputError: the file cannot be read, or a row lacks a value or has one that it should
                not.
        """
        packaged = resources.files("tongwen.plan").joinpath("devices.toml").read_text("utf-8")
        devices, measured = _read(packaged, "devices.toml", {})
        if own is not None:
            try:
                text = own.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"cannot read {own}: {error}") from error
            more, rows = _read(text, str(own), devices)
            devices, measured = devices | more, rows + measured
        return cls(devices, measured)

    def named(self, name: str) -> Device:
        """A device by its name, in any case; `h800-sxm` and `NVIDIA H800 80GB` find h800.

        Raises:
            UsageError: none has it, with the nearest names; or several do.
        """
        wanted = name.lower().replace(" ", "-").replace("_", "-")
        if wanted in self.devices:
            return self.devices[wanted]
        parts = wanted.split("-")
        found = [
            key
            for key in self.devices
            if all(part in parts for part in key.split("-")) or key.split("-")[0] == wanted
        ]
        if len(found) == 1:
            return self.devices[found[0]]
        if found:
            raise UsageError(
                f"--gpu {name} may be any of {', '.join(found)}", hint=f"--gpu {found[-1]}"
            )
        near = difflib.get_close_matches(wanted, self.devices, n=3, cutoff=0.4)
        names = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(self.devices)}"
        raise UsageError(
            f"no device is named {name!r}", hint=f"{names}; or add it with --devices FILE"
        )


@dataclass(frozen=True)
class Efficiency:
    """The share of peak speed that a run is expected to reach before its layout costs any.

    Attributes:
        mfu: attention counted over all pairs of tokens.
        basis: what it rests on, in words.
    """

    mfu: float
    basis: str


_ASSUMED_MFU = 0.35
"""Where nobody measured anything on such a device."""


def efficiency(device: Device, parameters: float, measured: Sequence[Measured]) -> Efficiency:
    """From rows of the device, else of devices with the same peak, else assumed.

    Between two sizes the share is interpolated over the logarithm of the size; beyond the measured
    sizes it is that of the nearest. Rows of equal size are averaged.
    """
    rows = [row for row in measured if row.device == device.name]
    borrowed = [row for row in measured if row.device != device.name]
    related = [row for row in borrowed if _kin(row.device, device)]
    if not rows and not related:
        return Efficiency(_ASSUMED_MFU, "assumed: nobody's measurement of such a device is known")
    used = rows + related
    sizes = sorted({row.parameters for row in used})
    shares = [_mean(row.mfu for row in used if row.parameters == size) for size in sizes]
    below = max((size for size in sizes if size <= parameters), default=sizes[0])
    above = min((size for size in sizes if size >= parameters), default=sizes[-1])
    low, high = shares[sizes.index(below)], shares[sizes.index(above)]
    place = 0.0 if below == above else math.log(parameters / below) / math.log(above / below)
    near = sorted(
        (row for row in used if row.parameters in (below, above)), key=lambda row: row.parameters
    )
    names = "; ".join(
        f"{row.mfu:.1%} at {row.parameters / 1e9:.3g}B on {row.device} by {row.by}" for row in near
    )
    return Efficiency(low + place * (high - low), f"measured: {names}")


_SAME_CHIP = ({"h100", "h800", "h200"}, {"a100-40gb", "a100-80gb", "a800"})
"""Devices whose arithmetic units are the same: they differ in memory and links."""


def _kin(name: str, device: Device) -> bool:
    return any({name, device.name} <= group for group in _SAME_CHIP)


def _mean(values: Iterable[float]) -> float:
    known = list(values)
    return sum(known) / len(known)


def _read(
    text: str, source: str, known: dict[str, Device]
) -> tuple[dict[str, Device], tuple[Measured, ...]]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source} is not TOML: {error}") from error
    unknown = set(values) - {"device", "measured"}
    if unknown:
        raise InputError(
            f"{source} has a table [{sorted(unknown)[0]}]", hint="use [device.NAME] or [[measured]]"
        )
    devices = {
        name.lower(): _row(
            Device, {**_values_of(known.get(name.lower())), **row, "name": name.lower()}, source
        )
        for name, row in values.get("device", {}).items()
    }
    rows = tuple(_row(Measured, row, source) for row in values.get("measured", ()))
    names = known.keys() | devices.keys()
    for row in rows:
        if row.device not in names:
            raise InputError(
                f"{source}: a measured row is of {row.device!r}, which is no device",
                hint=f"known: {', '.join(sorted(names))}",
            )
        if not 0 < row.mfu <= 1:
            raise InputError(f"{source}: mfu is {row.mfu}", hint="use a share from 0 to 1")
    return devices, rows


def _values_of(device: Device | None) -> dict[str, Any]:
    """The values of a row that a user's row of the same name may replace in part."""
    return {} if device is None else vars(device)


def _row(kind: type[Any], values: dict[str, Any], source: str) -> Any:
    names = [field.name for field in fields(kind)]
    strange = [name for name in values if name not in names]
    if strange:
        near = difflib.get_close_matches(strange[0], names, n=1)
        raise InputError(
            f"{source}: {values.get('name', 'a measured row')} has {strange[0]!r}",
            hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}",
        )
    try:
        row = kind(**values)
    except TypeError as error:
        lacking = str(error).rpartition(": ")[2]
        raise InputError(
            f"{source}: {values.get('name', 'a measured row')} lacks {lacking}"
        ) from error
    for field in fields(kind):
        value = getattr(row, field.name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_absent = value is None and field.type == float | None
        wants_number = field.type in (float, int, float | None)
        if wants_number and not is_absent and not (is_number and value > 0):
            raise InputError(
                f"{source}: {field.name} of {values.get('name', 'a measured row')} is {value!r}",
                hint="use a number greater than 0",
            )
    return row
