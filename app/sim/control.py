"""How the world is told to misbehave, and says what it was asked: ``/faults`` and ``/requests`` beside the venues."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.clock import Clock
from app.errors import BadInput
from app.sim.exchange import RequestLog
from app.sim.faults import FaultBook, read_fault


class Control:
    """The handlers."""

    def __init__(self, clock: Clock, faults: FaultBook, log: RequestLog) -> None:
        self._clock = clock
        self._faults = faults
        self._log = log

    def routes(self) -> list[Route]:
        return [
            Route("/faults", self.list_faults),
            Route("/faults", self.add_fault, methods=["POST"]),
            Route("/faults", self.clear_faults, methods=["DELETE"]),
            Route("/requests", self.list_requests),
            Route("/requests", self.clear_requests, methods=["DELETE"]),
        ]

    async def list_faults(self, request: Request) -> Response:
        """All that were told, those that are over too."""
        del request
        return JSONResponse([fault.as_json() for fault in self._faults.all()])

    async def add_fault(self, request: Request) -> Response:
        """Gives it back with what was left out filled in."""
        try:
            fault = read_fault(json.loads(await request.body()), self._clock.now_ms())
            self._faults.add(fault)
        except BadInput as error:
            return _refusal(str(error))
        except ValueError:
            return _refusal("the body is not JSON")
        return JSONResponse(fault.as_json(), 201)

    async def clear_faults(self, request: Request) -> Response:
        """Those of ``?venue=``, or all."""
        try:
            self._faults.clear(request.query_params.get("venue"))
        except BadInput as error:
            return _refusal(str(error))
        return Response(status_code=204)

    async def list_requests(self, request: Request) -> Response:
        """Oldest first."""
        del request
        return JSONResponse([answered._asdict() for answered in self._log.all()])

    async def clear_requests(self, request: Request) -> Response:
        del request
        self._log.clear()
        return Response(status_code=204)


def _refusal(detail: str) -> Response:
    return JSONResponse({"detail": detail}, 400)
