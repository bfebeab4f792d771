import contextlib
import multiprocessing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import dispatch.decisions
import dispatch.orders
import dispatch.readings  # noqa: F401
import server.beckn.app  # noqa: F401  every table registers where it is used
from dispatch.audit import Audit, audit_table
from dispatch.store import MIGRATIONS, NEWEST, TABLES, Store

NOON = datetime(2024, 3, 31, 12, 0, tzinfo=UTC)


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(store):
    with store.reading() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, TABLES) == []


def test_opening_a_store_again_keeps_what_it_holds(store_url):
    for expected in range(3):
        store = Store(store_url)
        with store.writing() as connection:
            assert Audit(store).append(connection, "start", {}, NOON).sequence == expected
        store.close()


def test_the_newest_migration_is_the_one_that_the_files_lead_to():
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == NEWEST


def test_tables_behind_the_newest_migration_are_brought_up_to_it(store_url):
    store, config = Store(store_url), Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with store.writing() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
    assert not sa.inspect(store.engine).has_table("decision")
    store.close()
    store = Store(store_url)
    assert sa.inspect(store.engine).has_table("decision")
    store.close()


def test_a_file_that_is_gone_takes_no_writes_until_it_is_back(tmp_path):
    file, away = tmp_path / "state.db", tmp_path / "away.db"
    store = Store(f"sqlite:///{file}")
    file.rename(away)
    for stands_there in (False, True):
        if stands_there:
            file.write_bytes(away.read_bytes())
        with pytest.raises(sa.exc.OperationalError, match="not the file that was opened"), store.writing():
            pass
    away.rename(file)
    with store.writing() as connection:
        assert Audit(store).append(connection, "start", {}, NOON).sequence == 0
    store.close()


def test_what_fails_half_way_leaves_nothing_behind(store):
    audit = Audit(store)
    with contextlib.suppress(RuntimeError), store.writing() as connection:
        audit.append(connection, "order", {"power_kw": 1.0}, NOON)
        raise RuntimeError
    assert list(audit.entries()) == []


def append_ten(url: str, writer: int) -> None:
    store = Store(url)
    for i in range(10):
        with store.writing() as connection:
            Audit(store).append(connection, "tick", {"writer": writer, "i": i}, NOON)
    store.close()


def test_writers_in_several_processes_take_turns(store, store_url):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=append_ten, args=(store_url, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    audit = Audit(store)
    assert len(list(audit.entries())) == 30
    assert audit.faults() == []


def test_a_reader_is_not_kept_waiting_by_a_writer(store):
    with store.writing() as writer:
        Audit(store).append(writer, "tick", {}, NOON)
        with store.reading() as reader:
            assert reader.execute(sa.select(sa.func.count()).select_from(audit_table)).scalar() == 0


def test_another_kind_of_database_is_refused():
    with pytest.raises(ValueError, match="allowed are sqlite:/// and postgresql"):
        Store("mssql+aioodbc://localhost/x?driver=any")
