"""The network of `forecasting.lstm` and how it is trained; the only file of the package that needs torch."""

import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from forecasting.forecast import LEADS, QUANTILES, ahead
from forecasting.sequences import PAST, Sequences

BATCH: Final = 256
LARGEST_GRADIENT: Final = 1.0


class Training(NamedTuple):
    """How long and how fast is learnt.

    Attributes:
        hidden: Width of both LSTMs.
        epochs: Most passes.
        stride: One row in so many is drawn for each pass, others in the next.
        patience: Passes without a better tail before the step is halved, and again as many before the end.
        learning_rate: First step of Adam.
        seed: Of the weights and of the drawing.
    """

    hidden: int = 64
    epochs: int = 24
    stride: int = 6
    patience: int = 2
    learning_rate: float = 2e-3
    seed: int = 0


class Network(nn.Module):
    """An LSTM reads the past, a second one goes on from its state over what is known of the future.

    Sequence to sequence as Sutskever, Vinyals and Le (2014); the decoder is fed no forecasts of its own, so all 48
    half-hours come in one go.
    """

    def __init__(self, past_channels: int, future_channels: int, hidden: int) -> None:
        """Lay out the two LSTMs and the quantiles' layer."""
        super().__init__()
        self._encoder = nn.LSTM(past_channels, hidden, batch_first=True)
        self._decoder = nn.LSTM(future_channels, hidden, batch_first=True)
        self._quantiles = nn.Linear(hidden + future_channels, len(QUANTILES))

    def forward(self, past: torch.Tensor, future: torch.Tensor) -> torch.Tensor:
        """Past (n, 96, channels) and future (n, 48, channels) to quantiles in scales beyond the anchor (n, 48, 7)."""
        _, state = self._encoder(past)
        decoded, _ = self._decoder(future, state)
        quantiles: torch.Tensor = self._quantiles(torch.cat([decoded, future], dim=2))
        return quantiles


def train(
    sequences: Sequences,
    truth: NDArray[np.float64],
    tail: int,
    training: Training,
    checkpoint: Path | None,
    progress: Callable[[int, float], object],
) -> bytes:
    """Train until the tail no longer improves.

    Args:
        sequences: Inputs of every row, n.
        truth: The target column, shape (n,).
        tail: Rows at the end that are kept out of training and say when to stop.
        training: Settings.
        checkpoint: File that keeps the state after every pass; if it exists the training goes on from there.
        progress: Called with the pass and the tail's pinball loss in scales.

    Returns:
        The best network as an ONNX graph with inputs `past` and `future` and output `quantiles`.
    """
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(training.seed)
        network = Network(sequences.standard.past_channels, sequences.standard.future_channels, training.hidden)
    targets = _targets(sequences, truth)
    usable = np.flatnonzero(np.isfinite(targets).any(axis=1) & np.isfinite(sequences.scale))
    usable = usable[usable >= PAST]
    border = len(truth) - tail
    head, held_out = usable[usable < border - LEADS], usable[usable >= border]
    if not head.size or not held_out.size:
        raise ValueError(f"{len(truth)} rows leave {head.size} to train on and {held_out.size} to stop on; give more")
    held_out = held_out[:: training.stride]
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    run = _Run(network, optimiser, checkpoint)
    while run.epoch < training.epochs and run.waited < 2 * training.patience:
        drawn = np.random.default_rng([training.seed, run.epoch]).permutation(head)[: -(-head.size // training.stride)]
        network.train()
        for past, future, target in _batches(sequences, targets, drawn):
            loss = _pinball(network(past, future), target)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
            optimiser.step()
        network.eval()
        with torch.no_grad():
            losses = [float(_pinball(network(p, f), y)) * len(p) for p, f, y in _batches(sequences, targets, held_out)]
        run.passed(sum(losses) / held_out.size, training)
        progress(run.epoch, run.best_loss)
    network.load_state_dict(run.best)
    return _onnx(network)


class _Run:
    """State of a training: what a checkpoint keeps."""

    def __init__(self, network: Network, optimiser: torch.optim.Adam, file: Path | None) -> None:
        self._network, self._optimiser, self._file = network, optimiser, file
        self.epoch, self.waited, self.best_loss = 0, 0, float("inf")
        self.best = {name: value.clone() for name, value in network.state_dict().items()}
        if file is not None and file.exists():
            self._resume(file)

    def passed(self, loss: float, training: Training) -> None:
        """Note how a pass did, and keep it."""
        self.epoch += 1
        self.waited = 0 if loss < self.best_loss else self.waited + 1
        if loss < self.best_loss:
            self.best_loss = loss
            self.best = {name: value.clone() for name, value in self._network.state_dict().items()}
        if self.waited == training.patience:
            self._optimiser.param_groups[0]["lr"] *= 0.5
        if self._file is not None:
            self._save(self._file)

    def _save(self, file: Path) -> None:
        arrays = {f"now/{name}": value.numpy() for name, value in self._network.state_dict().items()}
        arrays |= {f"best/{name}": value.numpy() for name, value in self.best.items()}
        for i, parameter in enumerate(self._network.parameters()):
            arrays |= {f"adam/{i}/{name}": value.numpy() for name, value in self._optimiser.state[parameter].items()}
        rate = self._optimiser.param_groups[0]["lr"]
        arrays["counts"] = np.array([self.epoch, self.waited, self.best_loss, rate])
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + ".part.npz")
        np.savez(part, **arrays)
        part.replace(file)

    def _resume(self, file: Path) -> None:
        with np.load(file, allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(arrays[name].copy()) for name in arrays.files}
        self._network.load_state_dict({n.removeprefix("now/"): v for n, v in tensors.items() if n.startswith("now/")})
        self.best = {n.removeprefix("best/"): v for n, v in tensors.items() if n.startswith("best/")}
        for i, parameter in enumerate(self._network.parameters()):
            self._optimiser.state[parameter] = {
                name: tensors[f"adam/{i}/{name}"] for name in ("step", "exp_avg", "exp_avg_sq")
            }
        epoch, waited, self.best_loss, rate = tensors["counts"].tolist()
        self.epoch, self.waited = int(epoch), int(waited)
        self._optimiser.param_groups[0]["lr"] = rate


def _targets(sequences: Sequences, truth: NDArray[np.float64]) -> NDArray[np.float32]:
    """The coming 48 values in scales beyond the anchor, NaN where missing, shape (n, 48)."""
    return ((ahead(truth) - sequences.anchor) / sequences.scale[:, None]).astype(np.float32)


def _batches(
    sequences: Sequences, targets: NDArray[np.float32], rows: NDArray[np.int64]
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    for first in range(0, rows.size, BATCH):
        batch = rows[first : first + BATCH]
        past, future = sequences.inputs(batch)
        yield torch.from_numpy(past), torch.from_numpy(future), torch.from_numpy(targets[batch])


def _pinball(quantiles: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean pinball loss (Koenker and Bassett 1978) over the targets that are there."""
    there = torch.isfinite(target)
    error = (torch.where(there, target, 0.0)[:, :, None] - quantiles) * there[:, :, None]
    level = torch.tensor(QUANTILES)
    return torch.maximum(level * error, (level - 1.0) * error).sum() / (there.sum() * len(QUANTILES))


def _onnx(network: Network) -> bytes:
    buffer = io.BytesIO()
    network.eval()
    example = (
        torch.zeros(2, PAST, network._encoder.input_size),
        torch.zeros(2, LEADS, network._decoder.input_size),
    )
    names = ["past", "future", "quantiles"]
    with warnings.catch_warnings():
        # The exporter that needs no further package warns that it is the older one, and of fixed batches.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            buffer,  # type: ignore[arg-type]  # torch's own annotation forgets that it takes a buffer
            input_names=names[:2],
            output_names=names[2:],
            dynamic_axes={name: {0: "n"} for name in names},
            dynamo=False,
        )
    return buffer.getvalue()
