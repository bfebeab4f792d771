"""Wet bulb by Stull's formula, which the grid table holds; what models use is in `data.psychrometrics`."""

import numpy as np
from numpy.typing import NDArray


def stull_wet_bulb_c(
    temperature_c: NDArray[np.float64], relative_humidity_pct: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Wet bulb, Celsius, at sea level, never above the dry bulb.

    Source: Stull (2011), Wet-bulb temperature from relative humidity and air temperature, J. Appl. Meteor. Climatol.,
    eq. 1; made for 5 to 99 % humidity and -20 to 50 C, where it is within about 1 C.

    Args:
        temperature_c: Dry bulb, shape (n,); NaN stays NaN.
        relative_humidity_pct: Same shape.
    """
    t, rh = temperature_c, relative_humidity_pct
    wet: NDArray[np.float64] = (
        t * np.arctan(0.151977 * np.sqrt(rh + 8.313659))
        + np.arctan(t + rh)
        - np.arctan(rh - 1.676331)
        + 0.00391838 * rh**1.5 * np.arctan(0.023101 * rh)
        - 4.686035
    )
    return np.minimum(wet, t)
