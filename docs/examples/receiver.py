"""A receiver in twenty lines: verifies each delivery and prints it. Usage: receiver.py PORT SECRET."""

import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

from signing import VerificationError, verify

PORT, SECRET = int(sys.argv[1]), sys.argv[2]


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what verifies, 400 to anything else."""

    def do_POST(self) -> None:
        """Verify the exact bytes that came, and only then look at them."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            verified = verify(self.headers, body, SECRET, now=datetime.now(UTC))
        except VerificationError as error:
            self.send_error(400, str(error))
            return
        print(f"verified {verified.message_id}: {body.decode()}", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Only what was verified is printed."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
