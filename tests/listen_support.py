"""Asks a process that listens, as a client without any library would."""

import json
import socket

PATIENCE = 20.0


def connect(address):
    if address.startswith("unix:"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(address.removeprefix("unix:"))
        return client
    host, _, port = address.removeprefix("public:").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)


def read_all(client):
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    return answer.decode()


def talk(address, request):
    """What is answered to these bytes: the status and the body."""
    with connect(address) as client:
        client.sendall(request)
        head, _, body = read_all(client).partition("\r\n\r\n")
    return int(head.split()[1]), body


def ask(address, path, host="localhost"):
    return talk(address, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())


def state_of(address):
    status, body = ask(address, "/state")
    assert status == 200, body
    return json.loads(body)
