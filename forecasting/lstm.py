"""Sequence to sequence: a neural network that reads two days and what is known of the next, and gives quantiles.

Trained on the pinball loss (quantile regression; Wen et al., A Multi-Horizon Quantile Recurrent Forecaster, 2017).
What it forecasts is the distance from an anchor (the published day-ahead price, or the last known day) in units of
the last week's mean distance, so that a quiet and a wild year look alike to it. It is trained with torch and then
frozen as an ONNX graph: forecasting, live or over a table, needs no torch, and reading a fitted one runs no code.
"""

import base64
import logging
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, Self

import numpy as np
import onnxruntime
import pandas as pd

from forecasting.forecast import LEADS, QUANTILES, Forecast
from forecasting.recent import published
from forecasting.sequences import Sequences, Standard

logger = logging.getLogger(__name__)

BATCH: Final = 512
TAIL_FRACTION: Final = 0.1  # of the fitting table: says when to stop
# Each quantile stands for the probabilities nearest to it; their sum with these weights is the mean.
MEAN_WEIGHTS: Final = tuple(np.diff([0.0, *(np.array(QUANTILES[1:]) + np.array(QUANTILES[:-1])) / 2.0, 1.0]).tolist())


class LstmForecaster(NamedTuple):
    """A trained network and the scaling of what it reads.

    Attributes:
        column: Column of the table.
        standard: Scaling, fitted on the training table.
        network: ONNX graph, base64.
    """

    column: str
    standard: Standard
    network: str

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        column: str,
        hidden: int = 64,
        epochs: int = 24,
        stride: int = 6,
        seed: int = 0,
        checkpoint: str | Path | None = None,
    ) -> Self:
        """Train on all but the last tenth of a table, which says when to stop.

        Args:
            table: A table holding nothing but what the forecaster may learn from.
            column: What to forecast.
            hidden: Width of the network.
            epochs: Most passes.
            stride: Each pass draws one row in so many.
            seed: Of weights and drawing.
            checkpoint: File that keeps the state after each pass; an interrupted training goes on from it.

        Raises:
            ValueError: The table is too short.
        """
        from forecasting.lstm_training import Training, train

        standard = Standard.fit(table, column)
        training = Training(hidden, epochs, stride, seed=seed)
        network = train(
            Sequences(standard, table),
            table[column].to_numpy(dtype=np.float64),
            int(TAIL_FRACTION * len(table)),
            training,
            Path(checkpoint) if checkpoint else None,
            lambda epoch, loss: logger.info("lstm %s: pass %d of %d, best loss %.4f", column, epoch, epochs, loss),
        )
        return cls(column, standard, base64.b64encode(network).decode())

    def predict(self, table: pd.DataFrame, minute: int = 0, rows: slice = slice(None)) -> Forecast:
        """Forecast the column; see `forecasting.forecast.Forecaster`."""
        sequences = Sequences(self.standard, table, minute)
        session = _session(self.network)
        chosen = np.arange(len(table))[rows]
        scaled = np.empty((chosen.size, LEADS, len(QUANTILES)), dtype=np.float32)
        for first in range(0, chosen.size, BATCH):
            past, future = sequences.inputs(chosen[first : first + BATCH])
            scaled[first : first + BATCH] = session.run(None, {"past": past, "future": future})[0]
        # Separately learnt quantiles may cross; sorting them never makes them worse (Chernozhukov et al. 2010).
        anchor = sequences.anchor[rows, :, None]
        quantiles = anchor + np.sort(scaled, axis=2) * sequences.scale[rows, None, None]
        certain = published(self.column, pd.DatetimeIndex(table.index), minute)[rows]
        quantiles = np.where(certain[:, :, None], anchor, quantiles).astype(np.float32)
        return Forecast((quantiles @ np.array(MEAN_WEIGHTS)).astype(np.float32), quantiles)


@lru_cache(maxsize=8)
def _session(network: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(base64.b64decode(network), options, providers=["CPUExecutionProvider"])
