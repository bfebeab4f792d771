"""Laws of the service clients: the documented shapes, and the ways in which the services leave them."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clients.carbon_intensity import CarbonIntensity
from data.clients.ckan import Ckan
from data.clients.elexon import Elexon
from data.clients.lccc import Lccc
from data.clients.neso import Neso
from data.clients.open_meteo import OpenMeteo
from data.clients.transport import Patience, open_http
from data.clients.wire import AnswerError, Day, Row, frame, parsed, spans
from data.synthetic import generate
from tests.replay import Replay, as_published, serving

HASTY = Patience(attempts=2, first_wait_s=0.01, jitter_s=0.01, timeout_s=5.0)
MIDNIGHT = datetime(2024, 1, 20, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


@pytest.fixture(scope="module")
def spring():
    """Days around the clock change of March 2023."""
    return as_published(generate("2023-03-20", "2023-03-30", seed=5))


@pytest.fixture
def replay(spring):
    found = Replay(spring)
    with serving(found) as urls:
        found.urls = urls
        yield found


def call(replay, question):
    """Ask with a client built from (http, urls)."""

    async def run():
        async with open_http(None, HASTY) as http:
            return await question(http, replay.urls)

    return asyncio.run(run())


def carbon(http, urls):
    return CarbonIntensity(http, urls.carbon_intensity)


def neso(http, urls):
    return Neso(Ckan(http, urls.neso))


def meteo(http, urls):
    return OpenMeteo(http, urls.open_meteo, urls.open_meteo_archive)


def clock(instant):
    return f"{instant:%Y-%m-%dT%H:%MZ}"


def national(start, forecast, actual=None, index="low"):
    intensity = {"forecast": forecast, "actual": actual, "index": index}
    return {"from": clock(start), "to": clock(start + HALF_HOUR), "intensity": intensity}


def carbon_path(kind, start, end, place=""):
    return f"/carbon/{kind}/{clock(start)}/{clock(end)}{place}"


# Carbon Intensity


def test_national_intensity_keeps_zero_and_tells_forecast_from_outturn(replay):
    end = MIDNIGHT + 3 * HALF_HOUR
    replay.lists[carbon_path("intensity", MIDNIGHT, end)] = {
        "data": [
            national(MIDNIGHT, 0, 0),
            national(MIDNIGHT + HALF_HOUR, 266, 263),
            national(MIDNIGHT + 2 * HALF_HOUR, 9),
        ]
    }
    rows = call(replay, lambda http, urls: carbon(http, urls).national(MIDNIGHT, end))
    assert [(r.intensity.forecast_g_per_kwh, r.intensity.actual_g_per_kwh) for r in rows] == [
        (0, 0),
        (266, 263),
        (9, None),
    ]
    assert rows[0].start == MIDNIGHT


def test_answers_that_reach_over_their_ends_give_each_half_hour_once(replay):
    end = MIDNIGHT + timedelta(days=1)
    starts = [MIDNIGHT + n * HALF_HOUR for n in range(-1, 49)]  # 50 rows where 48 were asked for
    answer = {"data": [national(s, 100 + n) for n, s in enumerate(starts)] + [national(starts[5], 999)]}
    replay.lists[carbon_path("intensity", MIDNIGHT, end)] = answer
    rows = call(replay, lambda http, urls: carbon(http, urls).national(MIDNIGHT, end))
    assert [r.start for r in rows] == starts[1:-1]
    assert rows[4].intensity.forecast_g_per_kwh == 999, "the last one sent counts"


def test_more_than_a_fortnight_is_asked_for_in_pieces_without_a_gap(replay):
    end = MIDNIGHT + timedelta(days=30)
    for low, high in spans(MIDNIGHT, end, timedelta(days=14)):
        starts = pd.date_range(low, high, freq="30min")
        replay.lists[carbon_path("intensity", low, high)] = {"data": [national(s, 1) for s in starts]}
    rows = call(replay, lambda http, urls: carbon(http, urls).national(MIDNIGHT, end))
    assert [r.start for r in rows] == list(pd.date_range(MIDNIGHT, end, freq="30min", inclusive="left"))
    assert len(replay.asked) == 3


@pytest.mark.parametrize("wrap", [lambda region: region, lambda region: [region]], ids=["object", "list"])
@pytest.mark.parametrize("question", ["region", "postcode"])
def test_regions_come_as_an_object_or_a_list(replay, wrap, question):
    end = MIDNIGHT + timedelta(days=1)
    starts = [MIDNIGHT + n * HALF_HOUR for n in range(49)]
    mix = [{"fuel": "gas", "perc": 41.6}, {"fuel": "wind", "perc": 58.4}]
    region = {"regionid": 13, "dnoregion": "UKPN London", "shortname": "London"}
    region["data"] = [national(s, 7) | {"generationmix": mix} for s in starts]
    place, argument = {"region": ("/regionid/13", 13), "postcode": ("/postcode/SE1", "SE1")}[question]
    replay.lists[carbon_path("regional/intensity", MIDNIGHT, end, place)] = {"data": wrap(region)}
    rows = call(replay, lambda http, urls: getattr(carbon(http, urls), question)(argument, MIDNIGHT, end))
    assert len(rows) == 48
    assert {(r.region_id, r.region) for r in rows} == {(13, "London")}
    assert sum(share.share_pct for share in rows[0].mix) == pytest.approx(100.0)


def test_the_mix_comes_as_a_list_or_an_object(replay):
    end = MIDNIGHT + HALF_HOUR
    row = {"from": clock(MIDNIGHT), "to": clock(end), "generationmix": [{"fuel": "coal", "perc": 0}]}
    for data in (row, [row]):
        replay.lists[carbon_path("generation", MIDNIGHT, end)] = {"data": data}
        rows = call(replay, lambda http, urls: carbon(http, urls).mix(MIDNIGHT, end))
        assert rows[0].mix[0].share_pct == 0


@pytest.mark.parametrize("postcode", ["RG41 5AB", "rg41", "", "1AB", "RG410"])
def test_only_the_first_half_of_a_postcode_is_sent(replay, postcode):
    with pytest.raises(ValueError, match="first half"):
        call(replay, lambda http, urls: carbon(http, urls).postcode(postcode, MIDNIGHT, MIDNIGHT + HALF_HOUR))
    assert not replay.asked


# Elexon


def test_prices_may_be_negative_and_belong_to_a_settlement_date_that_begins_the_day_before(replay):
    wrapped = {
        "data": [
            {
                "settlementDate": "2026-05-06",
                "settlementPeriod": 1,
                "startTime": "2026-05-05T23:00:00Z",
                "createdDateTime": "2026-05-06T23:44:34Z",
                "systemSellPrice": -14.14,
                "systemBuyPrice": -14.14,
                "netImbalanceVolume": -834.49,
                "anything": {"new": 1},
            }
        ]
    }
    for answer in (wrapped, wrapped["data"]):
        replay.lists["/elexon/balancing/settlement/system-prices/2026-05-06"] = answer
        (row,) = call(replay, lambda http, urls: Elexon(http, urls.elexon).system_prices(date(2026, 5, 6)))
        assert (row.sell_gbp_per_mwh, row.net_imbalance_volume_mwh) == (-14.14, -834.49)
        assert row.start == datetime(2026, 5, 5, 23, tzinfo=UTC)


@pytest.mark.parametrize("day", [date(2023, 3, 25), date(2023, 3, 26)])
def test_a_day_of_prices_has_46_or_48_periods(replay, spring, day):
    rows = call(replay, lambda http, urls: Elexon(http, urls.elexon).system_prices(day))
    periods = 46 if day == date(2023, 3, 26) else 48
    assert [r.settlement_period for r in rows] == list(range(1, periods + 1))
    assert [r.sell_gbp_per_mwh for r in rows] == spring["imbalance_price_gbp_per_mwh"].loc[
        [r.start for r in rows]
    ].tolist()


def test_pieces_of_the_market_index_meet_without_overlap(replay, spring):
    low, high = spring.index[10].to_pydatetime(), spring.index[-10].to_pydatetime()  # more than a week
    rows = call(replay, lambda http, urls: Elexon(http, urls.elexon).market_index(low, high))
    assert len(replay.asked) == 2
    starts = [r.start for r in rows if r.provider == "APXMIDP"]
    assert starts == list(pd.date_range(low, high, freq="30min", inclusive="left"))
    assert {(r.price_gbp_per_mwh, r.volume_mwh) for r in rows if r.provider == "N2EXMIDP"} == {(0.0, 0.0)}


@pytest.mark.parametrize(("hours", "issues"), [(6, 1), (9, 2), (12, 3)])
def test_forecasts_issued_outside_the_window_are_not_seen(replay, hours, issues):
    low = datetime(2023, 3, 24, tzinfo=UTC)
    high = low + timedelta(hours=hours)
    for forecast in ("demand_forecasts", "wind_forecasts"):
        rows = call(replay, lambda http, urls, f=forecast: getattr(Elexon(http, urls.elexon), f)(low, high))
        assert len({r.published_at for r in rows}) == issues
        assert all(low <= r.published_at < high for r in rows)


def test_more_than_a_week_of_dates_is_refused(replay):
    with pytest.raises(ValueError, match="in pieces"):
        call(replay, lambda http, urls: Elexon(http, urls.elexon).fuel_mix(date(2023, 3, 1), date(2023, 3, 8)))


# NESO and LCCC


def test_demand_is_read_however_its_year_writes_dates(replay, spring):
    rows = call(replay, lambda http, urls: neso(http, urls).historic_demand(2023))
    assert [r.demand_mw for r in rows] == spring["demand_mw"].tolist()
    assert {type(r.settlement_date) for r in rows} == {date}


def test_rows_to_come_are_left_out_of_recent_demand(replay, spring):
    rows = call(replay, lambda http, urls: neso(http, urls).recent_demand())
    assert len(rows) == len(spring)


def test_a_resource_is_taken_by_its_exact_name(replay):
    with pytest.raises(AnswerError, match=r"0 resources are named 'Historic Demand Data 1066'"):
        call(replay, lambda http, urls: neso(http, urls).historic_demand(1066))


def test_embedded_forecasts_come_with_their_issue_and_the_end_of_their_period(replay):
    days = date(2023, 3, 25), date(2023, 3, 27)
    rows = call(replay, lambda http, urls: neso(http, urls).embedded_forecasts(*days, (7, 10)))
    of_change = [r for r in rows if r.settlement_date == date(2023, 3, 26)]
    assert {r.settlement_period for r in of_change} == set(range(1, 47))
    assert {r.published_at.hour for r in rows} == {7, 8, 9}


def test_a_label_that_contradicts_the_clock_refuses_the_file(replay):
    row = {
        "DATE_GMT": "2026-08-16T00:00:00",
        "TIME_GMT": "18:00",  # the start of period 39, where the file gives ends
        "SETTLEMENT_DATE": "2026-08-16T00:00:00",
        "SETTLEMENT_PERIOD": 39,
        "EMBEDDED_WIND_FORECAST": 468,
        "EMBEDDED_SOLAR_FORECAST": 1323,
    }
    search = {"success": True, "result": {"records": [row]}}
    replay.lists["/neso/datastore_search"] = search
    with pytest.raises(AnswerError, match="TIME_GMT"):
        call(replay, lambda http, urls: neso(http, urls).embedded_forecast_now())
    row["TIME_GMT"] = "18:30"  # as recorded
    (found,) = call(replay, lambda http, urls: neso(http, urls).embedded_forecast_now())
    assert found.published_at == datetime(2023, 1, 1, 8, 0, 3, 123456, tzinfo=UTC)


def test_day_ahead_prices_come_back_in_order_from_the_first_date_on(replay, spring):
    first = date(2023, 3, 25)
    rows = call(replay, lambda http, urls: Lccc(Ckan(http, urls.lccc)).day_ahead_prices(first, date(2023, 4, 1)))
    assert [(r.settlement_date, r.hour) for r in rows] == sorted((r.settlement_date, r.hour) for r in rows)
    assert sum(r.settlement_date == date(2023, 3, 26) for r in rows) == 23
    assert rows[0].settlement_date == first
    assert rows[0].price_gbp_per_mwh == spring["day_ahead_price_gbp_per_mwh"].loc["2023-03-25 00:00Z"]


def test_an_action_that_fails_says_why(replay):
    replay.lists["/neso/package_show"] = {"success": False, "error": {"message": "Not found"}}
    with pytest.raises(AnswerError, match="Not found"):
        call(replay, lambda http, urls: neso(http, urls).historic_demand(2023))


# Open-Meteo


@pytest.mark.parametrize("service", ["archive", "forecast"])
def test_weather_hours_are_in_utc_and_may_be_missing(replay, spring, service):
    days = date(2023, 3, 29), date(2023, 3, 30)
    rows = call(replay, lambda http, urls: getattr(meteo(http, urls), service)(*days))
    assert [r.start for r in rows] == list(pd.date_range(days[0], periods=48, freq="h", tz="UTC"))
    assert rows[0].temperature_c == spring["temperature_c"].loc["2023-03-29 00:00Z"]
    assert rows[-1].temperature_c is None


@pytest.mark.parametrize(
    "answer",
    [
        {"error": True, "reason": "no"},
        {"utc_offset_seconds": 3600, "hourly": {"time": [], "temperature_2m": [], "relative_humidity_2m": []}},
        {"utc_offset_seconds": 0, "hourly": {"time": ["2024-01-01T00:00"], "temperature_2m": []}},
    ],
)
def test_weather_in_another_shape_or_zone_is_refused(replay, answer):
    replay.lists["/archive/archive"] = answer
    with pytest.raises(AnswerError, match="Open-Meteo"):
        call(
            replay,
            lambda http, urls: OpenMeteo(http, "", urls.open_meteo_archive).archive(date(2024, 1, 1), date(2024, 1, 1)),
        )


# What they share


class Thing(Row):
    day: Day
    size: float


@pytest.mark.parametrize("text", ["2023-01-31", "2023-01-31T00:00:00", "2023-01-31 00:00:00", "31-JAN-2023"])
def test_a_day_is_read_in_every_way_the_portals_write_it(text):
    assert parsed(Thing, [{"day": text, "size": 1}], "here")[0].day == date(2023, 1, 31)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([{"day": "2023-01-31"}], r"here .* Field required at 0\.size"),
        ([{"day": "2023-01-31", "size": "much"}], r"0\.size, got 'much'"),
        ([{"day": "2023-01-31", "size": float("nan")}], "finite"),
        ([{"day": "2023-01-31T09:00:00", "size": 1}], r"0\.day"),
        ({"day": 1}, "list"),
        (None, "list"),
    ],
)
def test_an_answer_unlike_its_documentation_is_told_with_place_and_value(records, says):
    with pytest.raises(AnswerError, match=says):
        parsed(Thing, records, "here")


def test_no_rows_still_make_a_table_with_its_columns():
    assert list(frame(Thing, []).columns) == ["day", "size"]


@given(st.integers(1, 2000), st.integers(1, 400))
def test_spans_cover_the_time_once(half_hours, longest):
    end = MIDNIGHT + half_hours * HALF_HOUR
    found = list(spans(MIDNIGHT, end, longest * HALF_HOUR))
    assert found[0][0] == MIDNIGHT
    assert found[-1][1] == end
    assert all(a[1] == b[0] for a, b in pairwise(found))
    assert all(timedelta(0) < b - a <= longest * HALF_HOUR for a, b in found)


@pytest.mark.parametrize("start", [datetime(2024, 1, 20), MIDNIGHT + HALF_HOUR])
def test_times_without_a_zone_and_empty_times_are_refused(start):
    with pytest.raises(ValueError, match=r"no time zone|not after"):
        list(spans(start, MIDNIGHT, HALF_HOUR))
