"""A local server that answers as the real services do, built from a grid table; it can be told to misbehave."""

import json
import re
import threading
import time
from collections import deque
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import numpy as np
import pandas as pd

from data.calendar import PERIOD, settlement_date, settlement_period
from data.clients.endpoints import Endpoints
from data.stull import stull_wet_bulb_c

HOURLY = ("day_ahead_price_gbp_per_mwh", "wind_forecast_da_mw", "temperature_c", "relative_humidity_pct")


def as_published(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its hourly products constant over the hour, as their publishers give them."""
    table = table.copy()
    for name in HOURLY:
        table[name] = table[name].groupby(table.index.floor("h")).transform("first")
    table["wet_bulb_c"] = stull_wet_bulb_c(table["temperature_c"].to_numpy(), table["relative_humidity_pct"].to_numpy())
    return table


class Trouble:
    """One scripted answer: a status with headers, or a connection that breaks or hangs."""

    def __init__(self, status=200, headers=(), cut=False, delay_s=0.0):
        self.status, self.headers, self.cut, self.delay_s = status, dict(headers), cut, delay_s


class Replay:
    """What the server knows and what it was asked."""

    def __init__(self, table: pd.DataFrame):
        self.table = table.assign(date=settlement_date(table.index).astype(str), period=settlement_period(table.index))
        self.asked = []  # path and query of every request, in order
        self.headers = []  # and its headers
        self.trouble = {}  # a part of a path -> scripted answers, used up one by one
        self.delay_s = 0.0
        self.etags = False
        self.lists = {}  # path -> answer, for services with no table behind them
        self.packages = {}  # data set -> resources, where not the usual ones
        self.lock = threading.Lock()

    def misbehave(self, path, *answers):
        self.trouble[path] = deque(answers)

    def count(self, part):
        return sum(part in url for url in self.asked)

    def answer(self, path, query):
        if path in self.lists:
            return self.lists[path]
        for pattern, function in ROUTES:
            if found := re.fullmatch(pattern, path):
                return function(self, query, *found.groups())
        return None

    def rows(self, first=None, last=None):
        """Rows of the settlement dates `first` to `last`."""
        t = self.table
        return t if first is None else t[(t["date"] >= first) & (t["date"] <= last)]


def label(row, start):
    return {"settlementDate": row.date, "settlementPeriod": int(row.period), "startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}"}


def value(x):
    return None if pd.isna(x) else float(x)


def system_prices(server, query, day):
    made = f"{pd.Timestamp(day) + timedelta(days=1):%Y-%m-%dT10:00:00Z}"
    data = [
        label(row, start)
        | {
            "createdDateTime": made,
            "systemSellPrice": value(row.imbalance_price_gbp_per_mwh),
            "systemBuyPrice": value(row.imbalance_price_gbp_per_mwh),
            "netImbalanceVolume": value(row.net_imbalance_volume_mwh),
            "priceDerivationCode": "N",
            "replacementPrice": None,
        }
        for start, row in zip(server.rows(day, day).index, server.rows(day, day).itertuples(), strict=True)
    ]
    return {"metadata": {"datasets": ["DISEBSP"]}, "data": data}


def market_index(server, query):
    low, high = (pd.Timestamp(query[name]) for name in ("from", "to"))
    data = []
    asked = server.table.loc[low:high]  # both ends count
    for start, row in zip(asked.index, asked.itertuples(), strict=True):
        price = value(row.market_index_price_gbp_per_mwh)
        apx = {"dataProvider": "APXMIDP", "price": price or 0.0, "volume": 0.0 if price is None else 1234.5}
        none = {"dataProvider": "N2EXMIDP", "price": 0.0, "volume": 0.0}
        data += [label(row, start) | apx, label(row, start) | none]
    return {"metadata": {"datasets": ["MID"]}, "data": data}


def fuels(row):
    """Gas, nuclear and wind, and an export if needed, that give the row's carbon intensity and follow its demand."""
    c, wind, embedded = (
        row.carbon_intensity_mix_derived_g_per_kwh,
        row.wind_mw,
        row.embedded_wind_mw + row.embedded_solar_mw,
    )
    if np.isnan([c, wind, embedded, row.demand_mw]).any():
        return {}
    gas_per_clean = c / (394.0 - c)
    nuclear = max((row.demand_mw + 500.0 - wind - gas_per_clean * (wind + embedded)) / (1.0 + gas_per_clean), 0.0)
    gas = gas_per_clean * (wind + embedded + nuclear)
    export = min(row.demand_mw + 500.0 - gas - nuclear - wind, 0.0)
    return {"CCGT": gas, "NUCLEAR": nuclear, "WIND": wind, "PS": -300.0, "INTFR": export, "INTNED": 0.0, "COAL": 0.0}


def fuel_mix(server, query):
    rows = server.rows(query["settlementDateFrom"], query["settlementDateTo"])
    data = [
        label(row, start) | {"dataset": "FUELHH", "fuelType": fuel, "generation": output}
        for start, row in zip(rows.index, rows.itertuples(), strict=True)
        for fuel, output in fuels(row).items()
    ]
    return {"data": data}


def demand_outturn(server, query):
    rows = server.rows(query["settlementDateFrom"], query["settlementDateTo"])
    return {
        "data": [
            label(row, start)
            | {"initialDemandOutturn": value(row.demand_mw), "initialTransmissionSystemDemandOutturn": 1}
            for start, row in zip(rows.index, rows.itertuples(), strict=True)
        ]
    }


def issues(day):
    """Issue times of the forecasts for a settlement date, with how far each is from the one that counts."""
    before = pd.Timestamp(day, tz="UTC") - timedelta(days=1)
    return [(before + timedelta(hours=h), error) for h, error in ((5.5, 77.0), (8.5, 0.0), (11.5, -55.0))]


def forecast(server, query, kind):
    low, high = (pd.Timestamp(query[f"publishDateTime{end}"]) for end in ("From", "To"))
    data = []
    near = server.rows(f"{low:%Y-%m-%d}", f"{high + timedelta(days=2):%Y-%m-%d}")["date"].unique()
    for day in near:
        rows = server.rows(day, day)
        for at, error in issues(day):
            for start, row in zip(rows.index, rows.itertuples(), strict=True):
                if not low <= at <= high:
                    continue
                if kind == "NDF" and not pd.isna(row.demand_forecast_da_mw):
                    demand = {"demand": value(row.demand_forecast_da_mw) + error, "boundary": "N"}
                    data.append(label(row, start) | demand | {"publishTime": f"{at:%Y-%m-%dT%H:%M:%SZ}"})
                if kind == "WINDFOR" and start.minute == 0 and not pd.isna(row.wind_forecast_da_mw):
                    output = {"generation": value(row.wind_forecast_da_mw) + error}
                    data.append(
                        output | {"publishTime": f"{at:%Y-%m-%dT%H:%M:%SZ}", "startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}"}
                    )
    return {"data": data}


PACKAGES = {
    "historic-demand-data": [f"Historic Demand Data {year}" for year in range(2016, 2031)],
    "daily-demand-update": ["Demand Data Update"],
    "1-day-ahead-demand-forecast": ["Day Ahead National Demand Forecast", "Historic Day Ahead Demand Forecasts"],
    "embedded-wind-and-solar-forecasts": [
        "Embedded Solar and Wind Forecast",
        *(f"Embedded Solar and Wind Forecast Archive {year}" for year in range(2019, 2031)),
    ],
    "imrp-actuals": ["IMRP actuals"],
}


def package_show(server, query):
    if query["id"] in server.packages:
        return {"success": True, "result": {"resources": server.packages[query["id"]]}}
    resources = [
        {"id": f"id of {name}", "name": name, "datastore_active": True, "last_modified": "2023-01-01T08:00:03.123456"}
        for name in PACKAGES[query["id"]]
    ]
    paper = {"id": "paper", "name": "Definition", "datastore_active": False, "last_modified": None}
    return {"success": True, "result": {"resources": [paper, *resources]}}


def neso_demand(rows):
    return [
        {
            "SETTLEMENT_DATE": f"{pd.Timestamp(row.date):%d-%b-%Y}".upper()
            if row.period % 2
            else f"{row.date}T00:00:00",
            "SETTLEMENT_PERIOD": int(row.period),
            "ND": value(row.demand_mw),
            "TSD": 1,
            "EMBEDDED_WIND_GENERATION": value(row.embedded_wind_mw),
            "EMBEDDED_SOLAR_GENERATION": value(row.embedded_solar_mw),
        }
        for row in rows.itertuples()
    ]


def reference_prices(server):
    rows = server.table[server.table["period"] % 2 == 1]
    return [
        {
            "IMRP_Date": f"{row.date} 00:00:00",
            "Settlement_Period": str((row.period + 1) // 2),
            "IMRP_Amount": str(row.day_ahead_price_gbp_per_mwh),
        }
        for row in rows.itertuples()
        if not pd.isna(row.day_ahead_price_gbp_per_mwh)
    ][::-1]


def embedded(rows, at, error=0.0):
    ends = rows.index + PERIOD
    return [
        {
            "DATE_GMT": f"{end:%Y-%m-%dT00:00:00}",
            "TIME_GMT": f"{end:%H:%M}",
            "SETTLEMENT_DATE": f"{row.date}T00:00:00",
            "SETTLEMENT_PERIOD": int(row.period),
            "EMBEDDED_WIND_FORECAST": value(row.embedded_wind_forecast_da_mw) + error,
            "EMBEDDED_SOLAR_FORECAST": value(row.embedded_solar_forecast_da_mw) + error,
            "Forecast_Datetime": f"{at:%Y-%m-%dT%H:%M:%S}",
        }
        for end, row in zip(ends, rows.itertuples(), strict=True)
        if not pd.isna(row.embedded_wind_forecast_da_mw)
    ]


def datastore_search(server, query):
    resource, offset, limit = query["resource_id"], int(query["offset"]), int(query["limit"])
    if resource == "id of IMRP actuals":
        records = reference_prices(server)
    elif resource.startswith("id of Historic Demand Data"):
        year = resource[-4:]
        records = neso_demand(server.table[server.table["date"].str.startswith(year)])
    elif resource == "id of Demand Data Update":
        records = [r | {"FORECAST_ACTUAL_INDICATOR": "A"} for r in neso_demand(server.table)]
        records += [r | {"ND": 1, "FORECAST_ACTUAL_INDICATOR": "F"} for r in records[-2:]]
    else:
        records = embedded(server.table, pd.Timestamp("2023-01-01T08:00"))
    return {"success": True, "result": {"records": records[offset : offset + limit], "total": len(records)}}


def datastore_sql(server, query):
    sql = query["sql"]
    records = []
    if "Day Ahead Demand" in sql:
        first, end = re.search(r""""TARGETDATE" >= '([\d-]+)' AND "TARGETDATE" < '([\d-]+)'""", sql).groups()
        rows = server.table[(server.table["date"] >= first) & (server.table["date"] < end)]
        for row in rows.itertuples():
            if row.period <= 48 and not pd.isna(row.demand_forecast_da_mw):
                hhmm = row.period // 2 * 100 + row.period % 2 * 30
                issued = f"{pd.Timestamp(row.date) - timedelta(days=1):%Y-%m-%dT08:45:00}"
                point = {"TARGETDATE": row.date, "CP_ST_TIME": hhmm, "CP_END_TIME": hhmm, "FORECAST_TIMESTAMP": issued}
                records.append(point | {"FORECASTDEMAND": row.demand_forecast_da_mw, "CARDINALPOINT": "x"})
    else:
        year = re.search(r"Archive (\d{4})", sql).group(1)
        windows = re.findall(
            r""""SETTLEMENT_DATE" >= '([\d-]+)' AND "SETTLEMENT_DATE" < '[\d-]+' """
            r"""AND "Forecast_Datetime" >= '([\dT:-]+)' AND "Forecast_Datetime" < '([\dT:-]+)'""",
            sql,
        )
        for day, low, high in windows:
            for hour, error in ((7, 33.0), (8, 0.0), (9, 44.0 if pd.Timestamp(day, tz="Europe/London").dst() else 0.0)):
                at = pd.Timestamp(day) - timedelta(days=1) + timedelta(hours=hour, minutes=30)
                if low <= f"{at:%Y-%m-%dT%H:%M:%S}" < high and f"{at:%Y}" == year:
                    records += embedded(server.rows(day, day), at, error)
    return {"success": True, "result": {"records": records}}


def weather(server, query):
    low, high = (
        pd.Timestamp(query["start_date"], tz="UTC"),
        pd.Timestamp(query["end_date"], tz="UTC") + timedelta(days=1),
    )
    hours = pd.date_range(low, high, freq="h", inclusive="left")
    found = server.table.reindex(hours)
    return {
        "latitude": 51.5,
        "longitude": -0.12,
        "utc_offset_seconds": 0,
        "timezone": "GMT",
        "hourly_units": {},
        "hourly": {
            "time": [f"{hour:%Y-%m-%dT%H:%M}" for hour in hours],
            "temperature_2m": [value(x) for x in found["temperature_c"]],
            "relative_humidity_2m": [value(x) for x in found["relative_humidity_pct"]],
        },
    }


ROUTES = (
    (r"/elexon/balancing/settlement/system-prices/([\d-]+)", system_prices),
    (r"/elexon/balancing/pricing/market-index", market_index),
    (r"/elexon/datasets/FUELHH", fuel_mix),
    (r"/elexon/demand/outturn", demand_outturn),
    (r"/elexon/datasets/(NDF|WINDFOR)", forecast),
    (r"/(?:neso|lccc)/package_show", package_show),
    (r"/(?:neso|lccc)/datastore_search", datastore_search),
    (r"/neso/datastore_search_sql", datastore_sql),
    (r"/(?:meteo|archive)/(?:forecast|archive)", weather),
)


class Handler(BaseHTTPRequestHandler):
    """HTTP around a `Replay`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server.replay
        url = urlparse(self.path)
        with server.lock:
            server.asked.append(self.path)
            server.headers.append(dict(self.headers))
            scripted = next((t for part, t in server.trouble.items() if part in self.path and t), None)
            trouble = scripted.popleft() if scripted else None
        time.sleep(server.delay_s + (trouble.delay_s if trouble else 0.0))
        if trouble and trouble.status != 200:
            return self.send(trouble.status, b'{"error": "trouble"}', trouble.headers)
        answer = server.answer(url.path, {k: v[0] for k, v in parse_qs(url.query).items()})
        if answer is None:
            return self.send(404, b'{"error": {"code": "404 Not Found"}}', {})
        body = json.dumps(answer).encode()
        if trouble and trouble.cut:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return None
        if server.etags:
            etag = f'"{hash(body)}"'
            if self.headers.get("If-None-Match") == etag:
                return self.send(304, b"", {"ETag": etag})
            return self.send(200, body, {"ETag": etag, "Cache-Control": "no-cache"})
        return self.send(200, body, {})

    def send(self, status, body, headers):
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(replay):
    """Run a `Replay`; gives the endpoints that lead to it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.replay = replay
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        base = f"http://127.0.0.1:{http.server_port}"
        try:
            yield Endpoints(
                f"{base}/elexon", f"{base}/neso", f"{base}/lccc", f"{base}/meteo", f"{base}/archive", f"{base}/carbon"
            )
        finally:
            http.shutdown()
            thread.join()
