"""The JSON gateway of an etcd of one member, as far as a lease asks it; in the clear, on this host's loopback."""
import base64
import http.server
import json
import threading


class Gateway:
    def __init__(self):
        self.pairs, self.questions, lock = {}, 0, threading.Lock()  # key -> (value, version)
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # pylint: disable=invalid-name
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    gateway.questions += 1
                    text = json.dumps(gateway.transact(question)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return f"etcd:127.0.0.1:{self.server.server_address[1]}/web,plain"

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def holds(self, compare):
        value, version = self.pairs.get(compare["key"], (None, 0))
        if compare["target"] == "CREATE":
            return version == 0
        if compare["target"] == "VERSION":
            return version == int(compare["version"])
        there, wanted = base64.b64decode(value or ""), base64.b64decode(compare["value"])
        return value is not None and (there > wanted if compare["result"] == "GREATER" else there < wanted)

    def transact(self, question):
        succeeded, responses = all(self.holds(compare) for compare in question["compare"]), []
        for wanted in question["success" if succeeded else "failure"]:
            if put := wanted.get("request_put"):
                self.pairs[put["key"]] = (put["value"], self.pairs.get(put["key"], (None, 0))[1] + 1)
                responses.append({"response_put": {}})
                continue
            key = wanted["request_range"]["key"]
            value, version = self.pairs.get(key, (None, 0))
            responses.append({"response_range": {"kvs": [{"key": key, "value": value, "version": str(version)}]} if value else {}})
        return {"responses": responses} | ({"succeeded": True} if succeeded else {})
