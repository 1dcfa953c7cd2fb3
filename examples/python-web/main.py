"""An HTTP service that converts units: Flask asks, msgspec checks, waitress serves."""

import logging
import os
import signal
import sys
import time

import msgspec
import waitress
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from converter import UNITS, ConversionError, convert

log = logging.getLogger("converter")
app = Flask(__name__)


class Question(msgspec.Struct):
    """What is asked for, as JSON or in the query: `{"value": 5, "from": "km", "to": "mi"}`."""

    value: float
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")


class Answer(msgspec.Struct):
    """The value in the unit that was asked for."""

    result: float
    unit: str


def reply(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, mimetype="application/json")


@app.get("/health")
def health() -> Response:
    return reply({"status": "ok"})


@app.get("/units")
def units() -> Response:
    return reply({name: unit.kind for name, unit in UNITS.items()})


@app.route("/convert", methods=["GET", "POST"])
def conversion() -> Response:
    if request.method == "POST":
        question = msgspec.json.decode(request.get_data(), type=Question)
    else:
        question = msgspec.convert(request.args.to_dict(), type=Question, strict=False)
    result = convert(question.value, question.source, question.target)
    return reply(Answer(result, question.target))


@app.errorhandler(msgspec.MsgspecError)
@app.errorhandler(ConversionError)
def bad_question(error: Exception) -> Response:
    return reply({"error": str(error)}, 400)


@app.errorhandler(HTTPException)
def no_page(error: HTTPException) -> Response:
    return reply({"error": error.name.lower()}, error.code)


@app.before_request
def start_clock() -> None:
    g.started = time.perf_counter()


@app.after_request
def log_request(response: Response) -> Response:
    took = (time.perf_counter() - g.started) * 1000
    log.info("%s %s %d %.1f ms", request.method, request.full_path.rstrip("?"), response.status_code, took)
    return response


def port() -> int:
    """The port to listen on: that of the variable PORT, else 8082."""
    text = os.environ.get("PORT", "8082")
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        sys.exit(f"converter: PORT must be a number from 1 to 65535, not `{text}`")
    return int(text)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stdout)
    # The first process of a container ignores a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    number = port()
    try:
        server = waitress.create_server(app, host="0.0.0.0", port=number)
    except OSError as error:
        sys.exit(f"converter: cannot listen on port {number}: {error.strerror}")
    log.info("listening on port %d", number)
    server.run()
    log.info("stopped")


if __name__ == "__main__":
    main()
