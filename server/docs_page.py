"""The page /docs: Swagger UI from files of this machine, so that it works without an internet, and none hears of it."""

from importlib.resources import as_file, files

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, Response

from server.errors import ApiError

router = APIRouter(include_in_schema=False)

FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("/docs")
def docs() -> HTMLResponse:
    """Its addresses are relative: a proxy may put the gateway under a path of its own."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Ruminate",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
    )


@router.get("/docs/{name}")
def file(name: str) -> Response:
    if name not in FILES:
        raise ApiError(404, f"there is no file {name!r} here", code="not_found")
    with as_file(files("fastapi_swagger") / "resources" / name) as path:
        content = path.read_bytes()
    return Response(content, media_type=FILES[name], headers={"Cache-Control": "public, max-age=86400"})
