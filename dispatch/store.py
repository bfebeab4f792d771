"""What the live side keeps: one SQL database, SQLite by default and PostgreSQL by URL."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

MIGRATIONS: Final = Path(__file__).parent / "migrations"
NEWEST: Final = max(file.name for file in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]
VERSION: Final = sa.table("alembic_version", sa.column("version_num"))
WRITER_LOCK: Final = 0x67726964  # any number, as long as every process of ours takes the same
BUSY_MS: Final = 5_000
KINDS: Final = ("sqlite", "postgresql")

TABLES: Final = sa.MetaData()

Inserts = Mapping[str, sa.Insert]  # by the name of the dialect


def keeping_first(table: sa.Table) -> Inserts:
    """Statements that insert a row unless one of its primary key is there."""
    return {
        "sqlite": sqlite.insert(table).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(table).on_conflict_do_nothing(),
    }


def replacing(table: sa.Table) -> Inserts:
    """Statements that insert a row in place of any of its primary key."""
    key = [column.name for column in table.primary_key]
    rest = [column.name for column in table.columns if column.name not in key]
    lite, postgres = sqlite.insert(table), postgresql.insert(table)
    return {
        "sqlite": lite.on_conflict_do_update(index_elements=key, set_={name: lite.excluded[name] for name in rest}),
        "postgresql": postgres.on_conflict_do_update(
            index_elements=key, set_={name: postgres.excluded[name] for name in rest}
        ),
    }


class Instant(sa.types.TypeDecorator[datetime]):
    """An instant in UTC; text that sorts as time does where a database knows no time zones."""

    impl = sa.String(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """PostgreSQL has a type for it."""
        kind = postgresql.TIMESTAMP(timezone=True) if dialect.name == "postgresql" else sa.String(32)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """Write it in UTC.

        Raises:
            ValueError: It has no time zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value.isoformat()} has no time zone; give instants one, such as datetime.now(UTC)")
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Read it back in UTC."""
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


class Store:
    """A database with our tables.

    Attributes:
        engine: SQLAlchemy's engine, for reading.
    """

    def __init__(self, url: str, read_only: bool = False) -> None:
        """Open a database and bring its tables up to date.

        Args:
            url: SQLAlchemy's, such as `sqlite:///state.db` or `postgresql+psycopg://user@host/name`.
            read_only: Take the database as it is: nothing is made, brought up to date or written.

        Raises:
            ValueError: Neither SQLite nor PostgreSQL.
            FileNotFoundError: There is no such SQLite file to read.
            sqlalchemy.exc.OperationalError: It cannot be reached.
        """
        parsed = sa.make_url(url)
        kind = parsed.get_backend_name()
        if kind not in KINDS:
            raise ValueError(f"a store on {kind!r}; allowed are sqlite:/// and postgresql+psycopg://")
        self.engine = _open_to_read(parsed) if read_only else sa.create_engine(url, pool_pre_ping=kind != "sqlite")
        if kind == "sqlite" and not read_only:
            _prepare_sqlite(self.engine)
        self._writing = self.engine.execution_options(writes=True)
        self._path: Path | None = None
        self._file: tuple[int, int] | None = None
        self._turn = threading.Lock()
        if not read_only:
            self._migrate()
        if kind == "sqlite" and parsed.database:
            self._path = Path(parsed.database)
            self._file = _identity(self._path)

    def check_there(self) -> None:
        """See that the database is still the file that was opened: one deleted or replaced takes writes and keeps none.

        Raises:
            sqlalchemy.exc.OperationalError: It is not.
        """
        if self._file is not None and self._path is not None and _identity(self._path) != self._file:
            gone = OSError(f"{self._path} is not the file that was opened; put that back, or restart on this one")
            raise sa.exc.OperationalError(None, None, gone)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that may write; one at a time over all threads and processes, all of it or nothing is kept."""
        self.check_there()
        # Threads of one process queue here: waiting for another writer, SQLite itself sleeps and tries again.
        with self._turn, self._writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITER_LOCK)))
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view."""
        with self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()

    def _version(self) -> str | None:
        """The migration that the tables are at, None where there are none."""
        with self.reading() as connection:
            if not sa.inspect(connection).has_table(VERSION.name):
                return None
            version: str | None = connection.scalar(sa.select(VERSION.c.version_num))
            return version

    def _migrate(self) -> None:
        if self._version() == NEWEST:
            return
        from alembic import command  # slow to load, and needed after an upgrade only
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.writing() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at a path, None if none does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open_to_read(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, connect_args={"options": "-c default_transaction_read_only=on"})
    path = Path(url.database or "").absolute()
    if not path.is_file():
        raise FileNotFoundError(f"no database {str(path)!r}; name one that is there as sqlite:///FILE")
    return sa.create_engine(f"sqlite:///file:{quote(str(path))}?mode=ro&uri=true")


def _prepare_sqlite(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def settle(connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late to keep two writers apart
        for pragma in (
            "journal_mode=WAL",  # readers do not wait for the writer
            "synchronous=FULL",  # what is committed survives the power going
            f"busy_timeout={BUSY_MS}",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
