"""A TLS handshake with what is trusted by default: `tls.py PORT`."""
import socket
import ssl
import sys

context = ssl.create_default_context()
try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            print("connected by", secure.version())
except ssl.SSLCertVerificationError as error:
    print("refused:", error.verify_message)
