"""Answers kept on disk: one Parquet file for each source and chunk of days, written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FETCHED_AT: Final = b"fetched_at"


class Parts(NamedTuple):
    """The folder of parts.

    Attributes:
        folder: Holds one folder for each source.
    """

    folder: Path

    def fetched_at(self, source: str, chunk: str) -> datetime | None:
        """When a part was fetched, in UTC; None if there is none."""
        path = self._path(source, chunk)
        if not path.is_file():
            return None
        return datetime.fromisoformat(pq.read_schema(path).metadata[FETCHED_AT].decode())

    def read(self, source: str, chunks: list[str]) -> pd.DataFrame:
        """The rows of those chunks that are there, in their order; empty if none is."""
        tables = [pd.read_parquet(path) for chunk in chunks if (path := self._path(source, chunk)).is_file()]
        tables = [table for table in tables if len(table)]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def write(self, source: str, chunk: str, rows: pd.DataFrame, fetched_at: datetime) -> None:
        """Write a part; after a crash at any moment there is the old one or the new one."""
        table = pa.Table.from_pandas(rows, preserve_index=False)
        stamp = {FETCHED_AT: fetched_at.astimezone(UTC).isoformat().encode()}
        path = self._path(source, chunk)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **stamp}), temporary)

    def _path(self, source: str, chunk: str) -> Path:
        return self.folder / source / f"{chunk}.parquet"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write to the path this gives; when the block ends well, that file takes the place of `path` in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
