"""``stretto serve``."""

from __future__ import annotations

import click

from stretto.cli.arguments import extra, import_from, target_argument
from stretto.serve.names import imported_pipeline


@click.command()
@target_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, help="The port to listen on.")
@click.option("--token", envvar="STRETTO_TOKEN", help="Ask for this bearer token.")
def serve(target: str, host: str, port: int, token: str | None) -> None:
    """Serve TARGET over HTTP from this process, with uvicorn.

    TARGET is MODULE:ATTRIBUTE of a pipeline. For Ray Serve, use `serve run` with stretto.application.
    """
    with extra("server"):
        import uvicorn

        from stretto.server import asgi
    import_from(".")
    app = asgi(imported_pipeline(target), tokens=[token] if token else [])
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
