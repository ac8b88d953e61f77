"""A server process for the tests: `python serve_process.py DELAY DRAIN_S HEAD_S QUEUE`.

Prints its port on stdout; its exit code is that of `serve`.
"""

import socket
import sys

from serve_fakes import FakePredictor

from danlu.serve.app import make_app
from danlu.serve.run import serve

if __name__ == "__main__":
    delay, drain_s, head_s, queue = map(float, sys.argv[1:])
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        print(listener.getsockname()[1], flush=True)
        app = make_app(FakePredictor(delay=delay), queue=int(queue), receive_s=head_s, max_batch=8)
        sys.exit(serve(app, listener, drain_s, head_s, write_s=head_s))
