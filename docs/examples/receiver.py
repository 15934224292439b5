"""A receiver in twenty lines: verify each delivery and print it. Usage: receiver.py PORT SECRET."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from waybill_client import VerificationError, verify

PORT, SECRET = int(sys.argv[1]), sys.argv[2]


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to deliveries with a valid signature, 400 to the others."""

    def do_POST(self) -> None:
        """Verify the raw bytes before anything parses them."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            verified = verify(self.headers, body, SECRET)
        except VerificationError as error:
            self.send_error(400, str(error))
            return
        print(f"verified {verified.message_id}: {body.decode()}", flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print only verified deliveries."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", PORT), Receiver).serve_forever()
