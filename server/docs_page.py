"""The page that shows what can be asked, from files on this machine: a dispatcher may have no internet."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

URL: Final = "/docs"


def add_docs_page(app: FastAPI) -> None:
    """Serve Swagger UI at `/docs`; the `fastapi-offline` package brings its files."""
    folder = Path(str(files("fastapi_offline"))) / "static"
    app.mount(f"{URL}/files", StaticFiles(directory=folder), name="docs-files")

    @app.get(URL, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",  # relative, so that a proxy may put us under a prefix
            title=app.title,
            swagger_js_url="docs/files/swagger-ui-bundle.js",
            swagger_css_url="docs/files/swagger-ui.css",
            swagger_favicon_url="docs/files/favicon.png",
            swagger_ui_parameters={"persistAuthorization": False},
        )
