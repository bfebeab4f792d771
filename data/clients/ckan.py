"""The two CKAN actions that open-data portals (NESO, LCCC) are read with.

Source: CKAN API guide, actions `package_show`, `datastore_search` and `datastore_search_sql`.
"""

from datetime import datetime
from typing import Any, Final, NamedTuple

import httpx

from data.clients.wire import AnswerError, Row, get_json, in_utc, parsed

PAGE: Final = 32_000  # CKAN's own bound on the rows of one answer


class Resource(Row):
    """A table of a data set. Its id changes when the portal replaces it, so it is always looked up by name."""

    id: str
    name: str
    datastore_active: bool = False
    last_modified: str | None = None

    def modified_at(self) -> datetime:
        """When the table was last replaced; CKAN writes UTC without saying so."""
        if self.last_modified is None:
            raise AnswerError(f"resource {self.name!r} has no last_modified time, so its age is unknown")
        return in_utc(datetime.fromisoformat(self.last_modified + "+00:00"))


class Ckan(NamedTuple):
    """A CKAN portal.

    Attributes:
        http: The shared HTTP client.
        base_url: URL of its actions, ending in `/api/3/action`.
    """

    http: httpx.AsyncClient
    base_url: str

    async def resources(self, package: str) -> list[Resource]:
        """The tables of a data set that can be queried."""
        result = await self._action("package_show", {"id": package})
        return [r for r in parsed(Resource, result.get("resources"), f"package {package}") if r.datastore_active]

    async def newest_rows(self, resource_id: str, sort: str, most: int) -> list[dict[str, Any]]:
        """The first `most` rows of a table in the given order, page by page."""
        rows: list[dict[str, Any]] = []
        while len(rows) < most:
            limit = min(PAGE, most - len(rows))
            page = {"resource_id": resource_id, "sort": sort, "limit": limit, "offset": len(rows)}
            records = _records(await self._action("datastore_search", page), resource_id)
            rows += records
            if len(records) < limit:
                break
        return rows

    async def query(self, sql: str) -> list[dict[str, Any]]:
        """The rows that an SQL query gives.

        Raises:
            AnswerError: There are more than CKAN sends at once, or the answer is not as documented.
        """
        records = _records(await self._action("datastore_search_sql", {"sql": sql}), sql)
        if len(records) >= PAGE:
            raise AnswerError(f"{sql!r} asks for more than the {PAGE} rows of one answer; ask for a shorter time")
        return records

    async def _action(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = await get_json(self.http, f"{self.base_url}/{action}", parameters)
        if not isinstance(answer, dict) or answer.get("success") is not True or not isinstance(answer["result"], dict):
            raise AnswerError(f"{action} of {parameters} failed: {str(answer)[:200]}")
        result: dict[str, Any] = answer["result"]
        return result


def only(resources: list[Resource], name: str) -> Resource:
    """The one resource of exactly this name; the portals keep near-identical ones side by side.

    Raises:
        AnswerError: There is none, or more than one.
    """
    found = [r for r in resources if r.name == name]
    if len(found) != 1:
        raise AnswerError(f"{len(found)} resources are named {name!r}; the portal has {[r.name for r in resources]}")
    return found[0]


def _records(result: dict[str, Any], what: str) -> list[dict[str, Any]]:
    records = result.get("records")
    if not isinstance(records, list):
        raise AnswerError(f"the answer to {what!r} holds no list of records")
    return records
