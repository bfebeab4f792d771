"""What a market is offered, changed and taken back: plain dictionaries within the site's power limit, in microseconds.

An allocation counts machines in the shape of the market gateway (`data.clients.gateway`) and may ask for battery power.
What runs is worked out afresh from what was asked and what is known, so that the same signal twice changes nothing
twice. A discharging battery never makes room for load: if it trips, the limit must still hold.
"""

from collections.abc import Mapping
from math import floor, inf, isfinite
from numbers import Integral, Real
from typing import Any, Final

from data.schema import PERIOD_H
from models.battery import Battery, power_limits_kw

MACHINES: Final = {
    "air_miners": ("miners", "air"),
    "hydro_miners": ("miners", "hydro"),
    "immersion_miners": ("miners", "immersion"),
    "gpu_compute": ("inference", "gpu"),
    "asic_compute": ("inference", "asic"),
}
BATTERY_KW: Final = "battery_kw"
SIGNALS: Final = ("price_gbp_per_mwh", "expected_price_gbp_per_mwh", "power_limit_kw", "frequency_hz")

DEAR: Final = 2.0  # times the expected price: flexible machines stop
LOW_HZ, HIGH_HZ = 49.8, 50.2  # operational limits of the GB system; statutory are 49.5 and 50.5 Hz
STATUTORY_HZ: Final = (49.5, 50.5)
WARM_C, HOT_C = 27.0, 32.0  # recommended and class A1 allowable rack inlet, ASHRAE TC 9.9 (2021)
WHOLE: Final = 1e-9  # a count this close below a whole number is that number
TRUTHS: Final = ("fire", "cooling_failed", "link_lost")
MEASURED: Final = ("inlet_c", "frequency_hz", "import_kw", "power_limit_kw")
# As written, not as compiled: to load what was compiled takes the first call far more than a tenth of a second.
LIMITS_KW: Final = getattr(power_limits_kw, "py_func", power_limits_kw)


def build_payload(
    allocation: dict[str, Any], inventory: dict[str, Any], soc: float, cooling_kw: float, power_limit: float
) -> dict[str, Any]:
    """What to submit: as much of an allocation as battery, cooling and power limit allow.

    Args:
        allocation: Whole numbers of machines by `MACHINES`; optionally `battery_kw`, charging positive.
        inventory: The gateway's: watts of a machine as `inventory["miners"]["air"]["power"]`.
        soc: State of charge of the default site's battery, 0 to 1.
        cooling_kw: Power of the cooling plant.
        power_limit: Highest import of the site, kW.

    Returns:
        `bid`: machines that run, the gateway's counts. `power_kw`: `compute`, `cooling`, `battery` and `total`, which
        is their sum and at most the limit. `share`: of the asked compute power that runs. `short_kw`: cooling that the
        limit leaves no room for. `asked`, `machine_kw`, `soc`, `power_limit_kw`: what it was made from.

    Raises:
        ValueError: An unknown name, a machine whose power the inventory does not tell, or a number out of range.
    """
    unknown = set(allocation) - {*MACHINES, BATTERY_KW}
    if unknown:
        raise ValueError(f"the allocation names {sorted(unknown)}; allowed are {[*MACHINES, BATTERY_KW]}")
    counts = {name: _count(name, allocation.get(name, 0)) for name in MACHINES}
    battery_kw = _number("battery_kw", allocation.get(BATTERY_KW, 0.0), low=-inf)
    machine_kw = {name: _machine_kw(name, inventory) for name, count in counts.items() if count}
    if not 0.0 <= _number("soc", soc) <= 1.0:
        raise ValueError(f"soc is {soc}; 0 to 1 is allowed, a share and not a percentage")
    asked = {**counts, BATTERY_KW: battery_kw, "cooling_kw": _number("cooling_kw", cooling_kw)}
    return _payload(asked, machine_kw, float(soc), _number("power_limit", power_limit), 1.0, battery_kw)


def real_time_adjustment(current_payload: dict[str, Any], market_signal: dict[str, Any]) -> dict[str, Any]:
    """The payload that a signal of the running half-hour calls for.

    At a price of `DEAR` times the expected one or above, machines stop and the battery sells. At a frequency below
    49.8 Hz the same happens whatever the price; above 50.2 Hz the battery no longer sells. A new power limit counts if
    it is lower. Without any of that everything asked for comes back.

    Args:
        current_payload: From `build_payload` or from here.
        market_signal: Any of `SIGNALS`; others are an error, and None or a number that is not finite tells nothing.

    Returns:
        A payload as from `build_payload`.

    Raises:
        ValueError: The signal has an unknown name or says something else than numbers, or the payload is none of ours.
    """
    unknown = set(market_signal) - set(SIGNALS)
    if unknown:
        raise ValueError(f"the signal names {sorted(unknown)}; allowed are {list(SIGNALS)}")
    wrong = [name for name, value in market_signal.items() if not isinstance(value, Real | None)]
    if wrong:
        raise ValueError(f"the signal says of {wrong} no number; give one, or None for what is not known")
    asked, machine_kw, soc, limit_kw = _made_from(current_payload)
    told = {name: number for name, value in market_signal.items() if (number := _measured(value)) is not None}
    price, expected = told.get("price_gbp_per_mwh"), told.get("expected_price_gbp_per_mwh")
    frequency_hz = told.get("frequency_hz", 50.0)
    dear = price is not None and expected is not None and price > 0.0 and price >= DEAR * max(expected, 0.0)
    share, battery_kw = 1.0, asked[BATTERY_KW]
    if dear or frequency_hz < LOW_HZ:
        share, battery_kw = 0.0, -inf
    elif frequency_hz > HIGH_HZ:
        battery_kw = max(battery_kw, 0.0)
    limit_kw = min(limit_kw, max(told.get("power_limit_kw", limit_kw), 0.0))
    return _payload(asked, machine_kw, soc, limit_kw, share, battery_kw)


def emergency_response(system_state: dict[str, Any]) -> dict[str, Any]:
    """What to do at once; what is not known or no number counts as the worst, and nothing raises.

    Args:
        system_state: Any of `inlet_c`, `frequency_hz`, `import_kw`, `power_limit_kw`, and `fire`, `link_lost`,
            `cooling_failed` as truths. A quantity that is not there is not measured and counts for nothing; one that
            is there but is no finite number is a sensor gone wrong, and so is a state that is no mapping.

    Returns:
        `severity`: `none`, `reduce` or `stop`. `compute_share`: of the machines that may run. `battery`: `keep`,
        `rest`, or `isolate` from the grid. `cooling`: `keep` or `full`; `off` where it burns. `reasons`: why.
        `ignored`: names that say nothing here; look whether one is misspelt.
    """
    state = system_state if isinstance(system_state, Mapping) else {}
    stops, reduces = _alarms(state)
    if state is not system_state:
        stops.append("the state of the system is not known")
    fire, ignored = _true(state.get("fire")), sorted(ascii(name)[1:-1] for name in set(state) - {*TRUTHS, *MEASURED})
    if not stops and not reduces:
        calm = {"severity": "none", "compute_share": 1.0, "battery": "keep", "cooling": "keep"}
        return {**calm, "reasons": [], "ignored": ignored}
    return {
        "severity": "stop" if stops else "reduce",
        "compute_share": 0.0 if stops else 0.5,
        "battery": "isolate" if fire else "rest",
        "cooling": "off" if fire else "full",
        "reasons": stops + reduces,
        "ignored": ignored,
    }


def _alarms(state: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What stops the site and what only reduces it."""
    stops = [name.replace("_", " ") for name in ("fire", "cooling_failed") if _true(state.get(name))]
    reduces = ["link lost"] if _true(state.get("link_lost")) else []
    measured = {name: _measured(state[name]) for name in ("inlet_c", "frequency_hz") if name in state}
    stops += [f"{name} is no finite number" for name, value in measured.items() if value is None]
    inlet_c, frequency_hz = measured.get("inlet_c"), measured.get("frequency_hz")
    if inlet_c is not None and inlet_c > WARM_C:
        (stops if inlet_c > HOT_C else reduces).append(f"the rack inlet is at {inlet_c:.1f} C")
    if frequency_hz is not None and not LOW_HZ <= frequency_hz <= HIGH_HZ:
        outside = not STATUTORY_HZ[0] <= frequency_hz <= STATUTORY_HZ[1]
        (stops if outside else reduces).append(f"the frequency is {frequency_hz:.2f} Hz")
    if "import_kw" in state or "power_limit_kw" in state:
        import_kw, limit_kw = _measured(state.get("import_kw")), _measured(state.get("power_limit_kw"))
        if import_kw is None or limit_kw is None:
            stops.append("import or its limit is not known")
        elif import_kw > limit_kw:
            reduces.append(f"the site imports {import_kw:.0f} kW of {limit_kw:.0f} kW")
    return stops, reduces


def _made_from(payload: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, float], float, float]:
    """What a payload was made from: what was asked, kW of each machine, charge and limit; it may have been JSON."""
    try:
        asked: dict[str, Any] = {name: _count(name, payload["asked"][name]) for name in MACHINES}
        asked[BATTERY_KW] = _number(BATTERY_KW, payload["asked"][BATTERY_KW], low=-inf)
        asked["cooling_kw"] = _number("cooling_kw", payload["asked"]["cooling_kw"])
        machine_kw = {name: _number(name, payload["machine_kw"][name]) for name in MACHINES if asked[name]}
        return asked, machine_kw, _number("soc", payload["soc"]), _number("limit", payload["power_limit_kw"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"the payload lacks {error}; give one that build_payload made") from None


def _payload(
    asked: Mapping[str, Any],
    machine_kw: Mapping[str, float],
    soc: float,
    limit_kw: float,
    share: float,
    battery_kw: float,
) -> dict[str, Any]:
    """As much as fits: cooling first, because machines without it may not run, then machines, then charging."""
    battery = Battery()
    low_kw, high_kw = LIMITS_KW(battery, soc * battery.capacity_kwh, PERIOD_H)
    cooling_kw = min(asked["cooling_kw"], limit_kw)
    wanted_kw = share * sum(asked[name] * kw for name, kw in machine_kw.items())
    room_kw = limit_kw - cooling_kw
    running = (
        0.0 if cooling_kw < asked["cooling_kw"] else share * min(room_kw / wanted_kw, 1.0) if wanted_kw > 0.0 else share
    )
    counts = {name: floor(running * asked[name] + WHOLE) for name in MACHINES}
    compute_kw = min(sum(counts[name] * kw for name, kw in machine_kw.items()), room_kw)
    battery_kw = min(max(battery_kw, low_kw), high_kw, room_kw - compute_kw)
    whole_kw = sum(asked[name] * kw for name, kw in machine_kw.items())
    return {
        "bid": counts,
        "power_kw": {
            "compute": compute_kw,
            "cooling": cooling_kw,
            "battery": battery_kw,
            "total": min(compute_kw + cooling_kw + battery_kw, limit_kw),
        },
        "share": compute_kw / whole_kw if whole_kw > 0.0 else 0.0,
        "short_kw": asked["cooling_kw"] - cooling_kw,
        "asked": dict(asked),
        "machine_kw": dict(machine_kw),
        "soc": soc,
        "power_limit_kw": limit_kw,
    }


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{name} is {value!r}; a whole number of machines, 0 or more, is needed")
    return int(value)


def _number(name: str, value: Any, low: float = 0.0) -> float:
    number = _measured(value)
    if number is None or number < low:
        raise ValueError(f"{name} is {value!r}; a finite number{' of 0 or more' if low == 0.0 else ''} is needed")
    return number


def _measured(value: Any) -> float | None:
    """A finite number, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all that is measured
        return None
    return number if isfinite(number) else None


def _true(value: Any) -> bool:
    """Whether an alarm is on; one that cannot tell is."""
    try:
        return bool(value)
    except Exception:  # whatever it is, it is not quiet
        return True


def _machine_kw(name: str, inventory: Mapping[str, Any]) -> float:
    group, kind = MACHINES[name]
    try:
        watts = inventory[group][kind]["power"]
    except (KeyError, TypeError):
        raise ValueError(
            f"the inventory tells no power of {name}; inventory[{group!r}][{kind!r}]['power'] holds it"
        ) from None
    return _number(f"the power of {name}", watts) / 1000.0
