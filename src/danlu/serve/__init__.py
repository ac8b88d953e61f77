"""A bundle over HTTP. `danlu.serve.app.make_app` gives the ASGI application, `danlu.serve.run.run` the server around it."""

from danlu.core.rooms import verb

verb(__name__)
