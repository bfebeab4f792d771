from envs import SYSTEMS
from envs.fields import Field
from envs.tables import PAGE, page, table, unit


def test_the_page_in_the_repository_is_the_one_the_fields_give():
    assert PAGE.read_text() == page(), "the declared fields changed: run python -m envs.tables"


def test_every_environment_is_on_the_page():
    text = PAGE.read_text()
    assert all(f"## `{name}`" in text for name in SYSTEMS)


def test_numbered_fields_share_a_row_and_keep_their_unit():
    fields = [Field(f"price_gbp_per_mwh_{k:02d}", -1.0, 1.0, f"price {k} ahead") for k in range(3)]
    rows = table([*fields, Field("wind_c", 0.0, 1.0, "air")]).splitlines()[2:]
    assert len(rows) == 2
    assert "price_gbp_per_mwh_02" in rows[0]
    assert "| GBP/MWh |" in rows[0]
    assert unit("slot_03_power_kw") == "kW"
    assert unit("hour_sin") == ""
