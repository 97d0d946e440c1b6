"""A bare Falcon hello, the most that the recommender's server could answer: ``gunicorn 'benchmarks.hello:app()'``."""

from __future__ import annotations

import falcon.asgi


class Hello:
    """``GET /``."""

    async def on_get(self, _request: falcon.asgi.Request, response: falcon.asgi.Response) -> None:
        """Say hello."""
        response.text = "hello"


def app() -> falcon.asgi.App:
    """Build the application."""
    application = falcon.asgi.App()
    application.add_route("/", Hello())
    return application
