"""What a link to the page looks like where it is shared: the house's own name and sentence.

Gradio's page says there that it is Gradio, with a picture from elsewhere, and has its title only once scripts have run.
Who makes previews runs none, so the page's template is another one.
"""

import re
from collections.abc import Callable

from jinja2 import BaseLoader, Environment

PAGE = "frontend/index.html"
ABOUT = "simple_description"
"""Gradio's name, in the page's configuration, for the sentence about it."""
_TOLD = re.compile(r'\s*<meta\s+(?:property|name)="(?:og|twitter):[^>]*>')
_OURS = """
		<title>{{ config['title'] }}</title>
		<meta name="description" content="{{ config['simple_description'] }}" />
		<meta property="og:type" content="website" />
		<meta property="og:title" content="{{ config['title'] }}" />
		<meta property="og:description" content="{{ config['simple_description'] }}" />
		<meta name="twitter:card" content="summary" />"""


class OwnPreview(BaseLoader):
    """Loads Gradio's templates as `loader` does, its page with our own words in the head."""

    def __init__(self, loader: BaseLoader) -> None:
        self._loader = loader

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        """The template, its file, and whether it is still what the file has. Raises TemplateNotFound."""
        source, file, current = self._loader.get_source(environment, template)
        if template == PAGE:
            source = _TOLD.sub("", source).replace("<head>", f"<head>{_OURS}", 1)
        return source, file, current


def put_in_place() -> None:
    """From now on, for every page of this process."""
    from gradio.routes import templates

    loader = templates.env.loader
    if loader is not None and not isinstance(loader, OwnPreview):
        templates.env.loader = OwnPreview(loader)
