#!/usr/bin/env python3
"""Spends an OAuth refresh token once, saves the next one, and only then delivers the access token.

Needs Python 3.9 or newer, and gh for ghsecret:. Settings are variables:
  EVERGRANT_REFRESH_TOKEN  the token to spend. CLAUDE_REFRESH_TOKEN in its place makes the next three those of Claude Code
  EVERGRANT_TOKEN_URL      token endpoint: https, or http on a loopback address
  EVERGRANT_CLIENT_ID      a public client; no client secret is sent. EVERGRANT_BODY: form, which is the default, or json
  EVERGRANT_WRITE_BACK     where the next refresh token goes. file:PATH: once that file exists, its token is the one to spend.
                           ghsecret:OWNER/REPO/NAME[?environment=E]: by gh, with GH_TOKEN. none: the token never changes
  EVERGRANT_ENV_NAME       in GitHub Actions, a variable to set; the outputs access-token and expires-at-ms are always set there
Elsewhere the access token, and nothing else, is on standard output. No request is sent twice. Exit: 0 delivered, 1 other,
2 settings, 3 sign in again, 4 in doubt, 5 later, 6 nowhere to write, 7 NOT SAVED, 8 saved but not delivered, 10 refused.

What only the evergrant program has: a lease, so that two jobs never spend one token (here you see to it that one runs at a
time); a record of doubt after a lost reply; a seal, and a rescue block when saving fails (here that token is lost); one
token for many jobs, refreshed only when it must be; a watch on clocks and on the end of the login.
"""
import sys; sys.path[:1] = []  # what lies beside this file is none of its parts
import base64, contextlib, functools, http.client, json, os, re, secrets, shutil, signal, ssl, subprocess, tempfile, threading, time, zlib
from urllib import parse, request

VERSION, LIMIT, CONNECT, ANSWER, PAUSES = "0.1.0", 1 << 20, 10, 20, (0, 1, 2, 4)  # bytes of an answer; seconds
ACTIONS, OURS, FAILED = os.environ.get("GITHUB_ACTIONS") == "true", ("EVERGRANT_REFRESH_TOKEN", "CLAUDE_REFRESH_TOKEN"), (OSError, subprocess.SubprocessError)
CLAUDE = {"TOKEN_URL": "https://platform.claude.com/v1/oauth/token", "CLIENT_ID": "9d1c250a-e61b-44d9-88ed-5944d1962f5e", "BODY": "json"}
CODES = {"invalid_grant": 3, "refresh_token_expired": 3, "refresh_token_reused": 3, "refresh_token_invalidated": 3, "token_expired": 3, "interaction_required": 3, "slow_down": 5, "rate_limit_error": 5,
         "server_error": 4, "internal_error": 4, "internal_server_error": 4, "temporarily_unavailable": 4, "invalid_client": 10, "invalid_request": 10, "unauthorized_client": 10, "unsupported_grant_type": 10, "invalid_scope": 10}
SPENT = "the refresh token may be spent, and a spent one that comes again can end the login: do not just try again, sign in and store a new one"

def say(command, text):
    line = f"::{command}::" + text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A") if ACTIONS else text
    with contextlib.suppress(OSError): return os.write(2, (line + "\n").encode(errors="replace")) > 0  # a log that nobody reads must not end a save
def mask(secret): return not ACTIONS or all([say("add-mask", part) for part in [secret, *secret.split()]])
def printable(token): return isinstance(token, str) and re.fullmatch("[!-~]+", token) is not None
def stop(code, text):
    nothing = {2: "; nothing was sent", 5: "; nothing was spent", 6: "; nothing was spent", 10: "; nothing was spent"}.get(code, "")
    say("error", re.sub("[^ -~]", "?", "refresh.py: " + text + nothing))
    sys.exit(code)

def failure(action, *what):  # why it failed, if it did
    try:
        action(*what)
    except FAILED as e:
        return getattr(e, "strerror", None) or type(e).__name__

def settings():
    env = os.environ.get
    place = env("EVERGRANT_WRITE_BACK") or stop(6, "EVERGRANT_WRITE_BACK is not set, and the next refresh token would be lost: "
        "set file:PATH or ghsecret:OWNER/REPO/NAME, or none if the provider never changes the token")
    found = re.fullmatch(r"(?a)none|file:([^\0\n]+)|ghsecret:([\w.-]+/[\w.-]+)/([A-Za-z_]\w*)(?:\?environment=([\w.-]+))?", place)
    found or stop(2, "EVERGRANT_WRITE_BACK is neither file:PATH nor ghsecret:OWNER/REPO/NAME[?environment=E] nor none")
    claude = bool(env(OURS[1]) and not env(OURS[0]))
    claude and place == "none" and stop(2, "EVERGRANT_WRITE_BACK is none, and Claude's refresh tokens rotate: the next one would be lost")
    url, client, body = (env("EVERGRANT_" + n) or (CLAUDE if claude else {"BODY": "form"}).get(n) or stop(2, f"EVERGRANT_{n} is not set") for n in CLAUDE)
    body in ("form", "json") or stop(2, "EVERGRANT_BODY is neither form nor json")
    octet, port = r"(25[0-5]|2[0-4]\d|1?\d{1,2})", r"([1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5]|[1-9]\d{0,3})"
    near, named = rf"localhost|127([.]{octet}){{3}}|\[::1\]", rf"([\w-]+[.])*[a-z][\w-]*|{octet}([.]{octet}){{3}}"
    re.fullmatch(rf"(?ai)(https://({near}|{named})|http://({near}))(:{port})?([/?][!-\"$-~]*)?", url) or stop(2, "EVERGRANT_TOKEN_URL is no URL like https://HOST/PATH, without user and fragment; http is for loopback addresses only")
    parts = parse.urlsplit(url)
    parts.hostname.startswith("console.anthropic.") and stop(2, f"{parts.hostname} serves this no more, {CLAUDE['TOKEN_URL']} does")
    name = ACTIONS and env("EVERGRANT_ENV_NAME")
    if name and not re.fullmatch(r"(?ai)(?!(GITHUB|RUNNER|ACTIONS|INPUT|LD|DYLD)_|(CI|PATH|HOME|SHELL|BASH_ENV|NODE_OPTIONS)$)[a-z_]\w*", name):
        stop(2, "EVERGRANT_ENV_NAME is no name of a variable, or the name of one that steers the job")
    for file in ["GITHUB_OUTPUT"] * ACTIONS + ["GITHUB_ENV"] * bool(name): os.access(env(file) or "", os.W_OK) or stop(2, file + " names no file that can be written")
    found[2] and not shutil.which("gh") and stop(2, "gh is not installed, and ghsecret: needs it")
    return parts, client, body, name, found[1], found.groups()[1:], OURS[claude]

def current(path, source):  # the refresh token to spend: that of the file, once there is one
    token = os.environ.get(source)
    if path and os.path.lexists(path):
        source, token = path, ""
        with contextlib.suppress(OSError):
            token = open(path, encoding="ascii", errors="replace").read(LIMIT) if os.path.isfile(path) and not os.path.islink(path) else ""
        token or stop(6, path + " should hold the current refresh token, and is empty, unreadable or no regular file")
    token = (token or stop(2, source + " is not set, and there is no other refresh token")).rstrip("\r\n")
    return (token, source) if printable(token) else stop(2, source + " holds a space, a line break or what else is in no token")

def save_file(path, token):  # replaces the file at once or not at all; without a token, only proves that it can be done
    folder = os.path.dirname(os.path.abspath(path))
    handle, temp = tempfile.mkstemp(prefix=".evergrant-", dir=folder)  # mode 0600
    try:
        with open(handle, "w") as f:
            f.write(token + "\n" if token else " " * 4096), f.flush(), os.fsync(handle)
        token and os.replace(temp, path)
    finally:
        with contextlib.suppress(OSError): os.unlink(temp)
    with contextlib.suppress(OSError): os.fsync(os.open(folder, os.O_RDONLY))  # some file systems cannot

def save_secret(repository, name, environment, token):  # without a token, only proves by another secret that it can be done
    env = {**{k: v for k, v in os.environ.items() if k not in OURS}, "GH_PROMPT_DISABLED": "1"}
    env["GH_HOST"] = env.get("GH_HOST") or env.get("GITHUB_SERVER_URL", "").split("://")[-1]  # of GitHub Enterprise: gh does not look there
    if ACTIONS and (env.get("GH_TOKEN") or env.get("GH_ENTERPRISE_TOKEN")) in (None, "", env.get("GITHUB_TOKEN")):
        raise OSError(0, "GH_TOKEN is not set or is the job's own token")
    env["GH_ENTERPRISE_TOKEN"] = env.get("GH_ENTERPRISE_TOKEN") or env.get("GH_TOKEN", "")

    def gh(verb, name, value=""):
        argv = ["gh", "secret", verb, name, "--repo", repository] + (["--env", environment] if environment else [])
        told = subprocess.run(argv, input=value.encode(), env=env, capture_output=True, timeout=30, start_new_session=True)
        if told.returncode:
            raise OSError(0, "gh: " + (re.findall(r"HTTP \d{3}", told.stderr.decode(errors="replace")) + [f"exit {told.returncode}"])[0])
    gh("set", name if token else name + "_EVERGRANT_PROBE", token or secrets.token_hex(16))
    token or failure(gh, "delete", name + "_EVERGRANT_PROBE")  # one that stays behind means nothing

def connect(parts):  # whatever fails here has sent nothing
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    local = parts.scheme == "http" or re.fullmatch(r"localhost|127\.[\d.]+|::1", parts.hostname)
    proxy = not local and not request.proxy_bypass(parts.hostname) and request.getproxies().get("https")
    try:
        connection = make(parts.hostname, parts.port, timeout=CONNECT)
        if proxy:
            via = parse.urlsplit(proxy if "//" in proxy else "http://" + proxy)
            via.scheme == "http" and via.hostname or stop(2, "HTTPS_PROXY is no URL like http://HOST:PORT: to any other proxy its password would go in clear text")
            login = base64.b64encode(parse.unquote(f"{via.username}:{via.password or ''}").encode()).decode()
            connection = make(via.hostname, via.port or 80, timeout=CONNECT)
            connection.set_tunnel(parts.hostname, parts.port or 443, {"Proxy-Authorization": "Basic " + login} if via.username else {})
        connection.connect()
        connection.sock.settimeout(ANSWER)
        return connection
    except (OSError, ValueError, http.client.HTTPException) as e:
        why = "its certificate is not trusted" if isinstance(e, ssl.SSLCertVerificationError) else type(e).__name__
        stop(5, f"{parts.hostname} cannot be reached ({why}); try again later")

def exchange(connection, parts, fields, body):  # the one request; returns status, headers and as much of the body as came
    text, kind = (json.dumps(fields), "json") if body == "json" else (parse.urlencode(fields), "x-www-form-urlencoded")
    headers = {"Content-Type": "application/" + kind, "Accept": "application/json", "User-Agent": "evergrant-script/" + VERSION}
    http.client._MAXLINE = http.client._MAXHEADERS = LIMIT  # an answer with odd headers brings tokens, too
    answer, came, bound = None, b"", threading.Timer(ANSWER, connection.sock.shutdown, [2])
    bound.start()
    with contextlib.suppress(OSError, ValueError, http.client.HTTPException):  # a reply that was cut may still hold a whole object
        connection.request("POST", parse.urlunsplit(("", "", parts.path or "/", parts.query, "")), text, headers)
        answer = connection.getresponse()
        while answer.status < 200: answer.headers = None; answer.begin()  # 102 and 103 announce the answer
        for part in iter(functools.partial(answer.read1, 1 << 16), b""):
            if len(came) <= LIMIT: came += part
            else: break
    bound.cancel()
    with contextlib.suppress(zlib.error):  # gzip that nobody asked for
        came = zlib.decompressobj(31).decompress(came, LIMIT) if came[:2] == b"\x1f\x8b" else came[:LIMIT]
    return (answer.status, answer.headers, came) if answer and answer.status >= 200 else stop(4, "in doubt: no answer came back; " + SPENT)

def found(text, name):  # the last whole token of that name in what may be no JSON
    texts = re.findall(rf'(?<!\\)"{name}"\s*:\s*("(?:[!#-\[\]-~]|\\["/\\]|\\u[0-9A-Fa-f]{{4}})+")', text)
    return next((token for token in map(json.loads, reversed(texts)) if printable(token)), None)

def judge(source, token, status, headers, came):  # returns the object that holds tokens, or stops with what the answer means
    text, reply = came.decode("utf-8-sig", "replace"), {}
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        reply = dict(json.loads(text, strict=False))
    if not (any(reply.get(n) for n in ("access_token", "refresh_token", "error")) or re.match(r"\s*<(!doctype|html)", text, re.I)) and found(text, "refresh_token"):
        reply.update({name: found(text, name) for name in ("refresh_token", "access_token", "token_type")})
    error, following = reply.get("error"), reply.get("refresh_token")
    if status // 100 == 2 and (printable(following) and following != token or error in (None, "", 0) and (following or reply.get("access_token"))):
        return reply
    named = [error.get("code"), error.get("type")] if isinstance(error, dict) else [error]
    code = next((c for c in named if isinstance(c, str) and c in CODES), "")  # no other word of the answer is shown
    wait = re.fullmatch(r"\d{1,7}|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT", headers.get("Retry-After", "").strip())
    fate = code and (CODES[code] < 10 or status < 500) and (code[:4] != "temp" or status not in (429, 503)) and CODES[code] or (5 if status == 429 or status == 503 and wait else 10 if 300 <= status < 500 and status != 408 else 4)
    seen = f"HTTP {status}" + (", " + code if code else ", an HTML page" if came[:64].lstrip().startswith(b"<") else "")
    stop(fate, {3: f"the provider takes this refresh token no more ({seen}): it was spent, was revoked or has ended; sign in again and put a new one into {source}",
                4: f"in doubt: the answer is of no use ({seen}); {SPENT}",
                5: f"the provider says later ({seen}): try again " + (f"after Retry-After: {wait[0]}" if wait else "in some minutes"),
                10: f"the provider refused the request ({seen}), or blocks this address: check URL, client id and body; if they are right, the refresh token itself may be dead, so sign in again"}[fate])

def deliver(access, name, life):
    if not ACTIONS:
        return os.write(1, (access + "\n").encode())
    ends = [("GITHUB_OUTPUT", "expires-at-ms", round(1000 * (time.time() + int(life))))] if re.fullmatch(r"[0-9]{1,9}", str(life)) else []
    for file, key, value in [("GITHUB_OUTPUT", "access-token", access), *ends, *([("GITHUB_ENV", name, access)] if name else [])]:
        mark = "evergrant_" + secrets.token_hex(16)  # that no value can contain
        left = os.path.getsize(os.environ[file]) and open(os.environ[file], "rb").read()[-1:] != b"\n"  # a line without its end
        with open(os.environ[file], "a") as f: f.write(("\n" if left else "") + f"{key}<<{mark}\n{value}\n{mark}\n")

sys.version_info >= (3, 9) or stop(2, "this Python is older than 3.9")
len(sys.argv) == 1 or stop(2, "there are no arguments: settings are variables, which the head of this script names")
parts, client, body, name, path, secret, source = settings()
token, source = current(path, source)
mask(token)
save = functools.partial(save_file, path) if path else functools.partial(save_secret, *secret) if secret[0] else None
why = save and failure(save, None)
if why:
    give = "" if path else ": give GH_TOKEN a fine-grained or App token with Secrets: write (Environments: write for an environment); GITHUB_TOKEN never can"
    stop(6, f"{path or 'a secret of ' + secret[0]} cannot be written ({why}){give}")
connection, lost = connect(parts), ""
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)  # the token is as good as spent: what comes must be saved, and takes seconds
reply = judge(source, token, *exchange(connection, parts, {"grant_type": "refresh_token", "refresh_token": token, "client_id": client}, body))
access, following, kind = (reply.get(n) for n in ("access_token", "refresh_token", "token_type"))
failed = "" if all([mask(s) for s in (access, following) if isinstance(s, str)]) else "it cannot be masked in the log"
if following and following != token:
    lost = "EVERGRANT_WRITE_BACK is none" if printable(following) else "it is no printable text"
    for pause in PAUSES if save and printable(following) else ():
        time.sleep(pause)
        lost = failure(save, following)
        if not lost: break
saved = "its refresh token is saved" if following and following != token else "the refresh token stays as it was"
usable = printable(access) and (not kind or str(kind).lower() == "bearer")
failed = failed or usable and failure(deliver, access, name, reply.get("expires_in"))
lost and stop(7, f"NOT SAVED: the new refresh token could not be kept ({lost}). It is gone with this process and printed "
    f"nowhere; the access token was {'delivered' if usable and not failed else 'not delivered'}. Sign in again and store the new refresh token")
usable or stop(1, f"the answer holds no access token that can be used as a bearer token; {saved}")
failed and stop(8, f"the access token could not be delivered ({failed}); {saved}, so mend that and run this again")
