"""Secrets in text, taken out before the text is stored: text in, text and a count by kind out.

A secret is known by its own form (`sk-…`, `ghp_…`, `eyJ….….…`, a block of PEM), or by what stands before it (`Authorization: Bearer`,
`password=`, `scheme://user:password@`). `[redacted: kind]` takes its place; what stands around it stays. A text that was redacted is not
changed by another call. Each pattern looks at a text once, so that time grows with its length and nothing else.

What is not known here: names of people, addresses, numbers of cards; a password in a sentence without one of those marks; a key of a form
that is not below; anything encoded once more. What only looks random, such as a hash, is no secret by itself and stays. References to
secrets stay as well: `$API_KEY`, `os.environ["API_KEY"]`, `password=None`.
"""

import re
from collections import Counter
from collections.abc import Callable

KINDS = ("private key", "API key", "token", "password")
"""What there is to find. `token`: bearer tokens, JSON web tokens, cookies, signatures of addresses."""

_MARK = "[redacted: "
_NEW = r"(?!\[redacted: )"
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
"""Where a word begins; a line's end inside JSON is a backslash and a letter."""
_Q = r"""(?:\\{0,8}(?:["']|`(?![\s,.;:)])))"""
"""A quotation mark; inside JSON inside JSON it stands behind backslashes."""
_S = r"[ \t]{0,8}"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[^-]++|-(?!----))*+"
    r"(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----)?"
    r"|PuTTY-User-Key-File-\d: [^\n]*+(?:\n[^\n]++)*+"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{20,}+"
)
"""A block that has no end is cut short: all up to the next row of dashes is taken for it."""

_OWN_FORM = re.compile(
    _START + r"(?:"
    r"sk-(?=[A-Za-z_-]{0,100}[0-9]|[A-Za-z_-]{0,40}[A-Za-z0-9]{20})[A-Za-z0-9_-]{16,}+"  # OpenAI, Anthropic, OpenRouter, DeepSeek
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[A-Za-z0-9+/=]{16,}+"  # Stripe
    r"|gh[pousr]_[A-Za-z0-9]{20,}+|github_pat_[A-Za-z0-9_]{20,}+|gl(?:pat|cbt|dt|rt|ptt|ft|soat)-[A-Za-z0-9_-]{16,}+"  # GitHub, GitLab
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{10,}+"  # Slack
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])|AIza[A-Za-z0-9_-]{30,}+|ya29\.[A-Za-z0-9_.-]{20,}+|GOCSPX-[A-Za-z0-9_-]{20,}+"  # clouds
    r"|hf_[A-Za-z0-9]{20,}+|npm_[A-Za-z0-9]{30,}+|pypi-[A-Za-z0-9_-]{30,}+|gsk_[A-Za-z0-9]{20,}+|xai-[A-Za-z0-9]{20,}+"
    r"|nvapi-[A-Za-z0-9_-]{20,}+|pplx-[A-Za-z0-9]{20,}+|r8_[A-Za-z0-9]{20,}+|tgp_v1_[A-Za-z0-9_-]{20,}+|tvly-[A-Za-z0-9-]{16,}+"
    r"|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+|key-[0-9a-f]{32}(?![0-9a-f])|do[opr]_v1_[0-9a-f]{30,}+|shp(?:at|ca|pa|ss)_[0-9a-f]{30,}+"
    r"|lin_api_[A-Za-z0-9]{20,}+|ntn_[A-Za-z0-9]{20,}+|dckr_pat_[A-Za-z0-9_-]{20,}+|hvs\.[A-Za-z0-9_-]{20,}+|ATATT3[A-Za-z0-9_=.-]{30,}+"
    r"|[0-9]{8,10}:AA[A-Za-z0-9_-]{32,}+|[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}+"  # Telegram, Discord
    r")"
)
"""Keys that services give out, by how they begin."""

_WEB_HOOK = re.compile(r"(https://(?:hooks\.slack\.com/services|discord(?:app)?\.com/api/webhooks)/)([A-Za-z0-9_/-]{10,}+)")
_WEB_TOKEN = re.compile(_START + r"eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+)?")
"""A JSON web token, with or without its signature."""
_SCHEME = r"(?:bearer|basic|token|digest|apikey|bot|negotiate)"
_AUTHORISATION = re.compile(
    rf"(?i)({_START}(?:proxy-)?authorization{_Q}?{_S}[:=,]{_S}{_Q}?(?:{_SCHEME}[ \t]{{1,8}}|(?!{_SCHEME}[ \t])"
    r"(?=[A-Za-z._~+/=-]{0,80}[0-9])))"
    rf"{_NEW}([^\s\"'`\\,;)\]}}]{{4,}}+)"
)
_BEARER = re.compile(rf"(?i)({_START}bearer[ \t]{{1,8}})(?=[A-Za-z._~+/=-]{{0,80}}[0-9]|[A-Za-z]{{20}})([A-Za-z0-9._~+/=-]{{12,}}+)")
_COOKIE = re.compile(rf"(?i)({_START}(?:set-)?cookie{_Q}?:{_S}{_Q}?){_NEW}([A-Za-z0-9_.-]{{1,100}}=[^\r\n\"'\\]*+)")
_DOCKER = re.compile(rf"({_Q}auth{_Q}{_S}:{_S}{_Q})([A-Za-z0-9+/]{{12,}}+={{0,2}})(?={_Q})")
_PARAMETER = re.compile(
    r"(?i)([?&](?:access_?token|auth_?token|id_?token|refresh_?token|token|api_?key|key|sig|signature|x-amz-signature|"
    r"x-amz-security-token|x-goog-signature|client_?secret|secret|password|passwd|pwd|code)=)" + _NEW + r"([^\s&#\"'<>\\)]{6,}+)"
)
_ADDRESS = re.compile(rf"(://[^\s/?#:@\"'<>]{{0,200}}:){_NEW}([^\s/?#\"'<>\\]{{1,500}})(?=@)"
                      rf"|(://){_NEW}([A-Za-z0-9_.~%-]{{20,500}})(?=@)")
"""The password of a login in an address, or a long login without one, which is a token."""
_STORED = re.compile(r"\$(?:1|2[abxy]|5|6|7|y|argon2(?:id|i|d))\$[A-Za-z0-9./+=$,_-]{20,}+")
"""A password as systems keep it."""

_NAME = (
    r"(?P<name>pass(?:word|wd|phrase|code)|(?:(?<![a-z])|(?<=\\[nrt]))pwd|pgpass|(?:mysql|redis|db|smtp|admin|root|user)_?pass|(?:api|access|private|secret|"
    r"account|encryption|signing|shared_?access|master|subscription)[_-]?key(?:[_-]?id)?|api[_-]?token|auth[_-]?token|"
    r"access[_-]?token|refresh[_-]?token|session[_-]?token|bot[_-]?token|id[_-]?token|bearer[_-]?token|personal[_-]?token|"
    r"client[_-]?secret|app[_-]?secret|secret|credentials?|token)(?:[_-]?(?:confirm(?:ation)?|repeat|again|new|old|value))?(?:[_-]?[0-9]{1,3})?"
)
_SIGN = (
    rf"(?:{_S}:{_S}(?:str|SecretStr|bytes|String|string|Optional\[str\]|str \| None)(?={_S}=))?"
    rf"(?:,?\s{{1,40}}{_Q}?value{_Q}?{_S}[:=]|{_S}(?:=>|:=|==|[:=])){_S}"
)
"""What stands between a name and its value: signs, perhaps with a type; or the word `value`, as in lists of names and values."""
_QUOTED = rf"(?P<quote>{_Q})(?P<quoted>(?:(?!(?P=quote))(?:\\.|[^\r\n]))*+)"
_BARE = r"(?P<bare>[^\s\"'`\\,;&|<>(){}\[\]]++)(?![(\[])"
_ASSIGNED = re.compile(rf"(?i)(?P<before>{_NAME}{_Q}?{_SIGN}(?:[bfru]{{1,2}}(?=[\"']))?)(?:{_QUOTED}|{_BARE})")
"""A name that says secret, a sign, and a value, in quotes or not: files of settings, JSON, headers, code, command lines."""
_PAIR = re.compile(rf"(?i)(?P<before>\([ \t\n]{{0,8}}{_Q}[a-z0-9_.-]{{0,60}}?{_NAME}{_Q}{_S},{_S}){_QUOTED}")
"""A name and a value as the first two arguments of a call."""
_SETTING = re.compile(
    rf"(?P<before>{_START}(?:[A-Z][A-Z0-9_]{{0,60}}?)?"
    r"(?P<name>PASSWORD|PASSWD|PASSPHRASE|PASS|SECRET|TOKEN|KEY)(?:_?[0-9]{1,3})?=)(?P<quote>)(?P<bare>[^\s\"'`\\]++)"
)
"""As in files of settings and in shells: everything up to a blank is the value."""
_ELEMENT = re.compile(rf"(?i)(?P<before><(?:[a-z]{{1,20}}[_:-]?)?(?:password|passwd|secret|api_?key|token)>)(?P<quote>)"
                      rf"{_NEW}(?P<bare>[^<>\r\n]{{1,500}}+)(?=</)")
_OPTION = re.compile(
    rf"(?i)(?P<before>{_START}--?(?:[a-z]{{1,20}}-)?(?:password|passwd|passphrase|pass|token|api-?key|secret|auth-?token|access-?key)"
    rf"[ \t]{{1,8}}){_NEW}(?:{_QUOTED}|(?P<bare>[^\s\"'`\\,;&|<>(){{}}\[\]-][^\s\"'`;&|<>\\]*+))"
)
_LOGIN = re.compile(
    rf"(?i)(?P<before>{_START}(?:curl\b(?:(?![ \t](?:-u|--user))[^\n]){{0,300}}[ \t](?:-u|--user)[ \t=]{{0,2}}[\"']?[^\s:\"']{{1,100}}:|"
    r"sshpass[ \t]+-p[ \t]?|mysql(?:dump|admin)?\b(?:(?![ \t]-p)[^\n]){0,200}[ \t]-p(?=[^\s])|identified by [ \t]*(?=[\"'])|"
    r"machine [^\s]{1,200}\s{1,4}login [^\s]{1,200}\s{1,4}password ))"
    r"(?P<quote>[\"']?)(?!\[redacted: )(?P<bare>[^\s\"'\\]{1,200}+)"
)
_SENTENCE = re.compile(
    rf"(?i)(?P<before>{_START}(?:password|passphrase|passcode|api key|secret key|access token)[ \t]{{1,3}}(?:is|was|to)"
    r"[ \t]{0,3}:?[ \t]{0,3})"
    r"(?:(?P<quote>[\"'`])(?P<quoted>[^\r\n\"'`]*+)|(?P<bare>[^\s\"'`,;()\[\]]*[0-9][^\s\"'`,;()\[\]]*+))"
)
"""`the password is hunter2`: without quotation marks only what has a digit, for a word more is more likely a sentence."""

_HARMLESS = re.compile(
    r"(?is)(?:none|null|nil|undefined|true|false|str(?:ing)?|bytes|text|int(?:eger)?|number|bool(?:ean)?|any|object|optional|required|empty|"
    r"secretstr|password|passwd|secret|token|api_?key|key|value|name|file|path|option|flag|argument|field|not|is|in|and|or|to|for|the|a|an|"
    r"\*+|\.{2,}|x{3,}|-+|…|changeme|example|placeholder|redacted|hidden|masked|your[-_ ].*|my[-_]?(?:api[-_]?key|token|secret|password)|"
    r"<.*|\$.*|%[a-z_]+%|\{.*|.*\[redacted:.*|"
    r"(?:os\.environ|os\.getenv|process\.env|env\.|settings\.|config\.|self\.|args\.|options\.|request\.|req\.|ctx\.|secrets\.|vault:).*|"
    r"(?:await|new|function|lambda|async|return|get|input|prompt|import|from))"
)
"""Values that are no secret: nothing, a type, a place for one, a reference to one."""
_WEAK = frozenset({"token", "key", "credential", "credentials", "secret"})
"""Names that mean many other things as well: their value is a secret only where it looks as if chance had made it."""


_ROUNDS = 5
"""What is taken out can bring a name and another secret together: one looks again, though not for ever."""


def redact(text: str) -> tuple[str, Counter[str]]:
    """The text without its secrets, and how many there were of each of `KINDS`; kinds without any are left out."""
    found: Counter[str] = Counter()
    if len(text) < 4:
        return text, found
    for _ in range(_ROUNDS):
        before, small = found.total(), text.lower()
        for pattern, kind, replace, needed in _STAGES:
            if not any(part in small for part in needed):
                continue
            text, count = _replace(text, pattern, kind, replace)
            if count:
                found[kind] += count
        if found.total() == before:
            break
    return text, found


def tell(found: "Counter[str]") -> str:
    """The counts in words: `2 API keys, 1 password`."""
    return ", ".join(f"{count:,} {kind}{'s' if count != 1 else ''}" for kind in KINDS if (count := found[kind]))


_Replace = Callable[["re.Match[str]", str], "str | None"]


def _replace(text: str, pattern: "re.Pattern[str]", kind: str, replace: _Replace) -> tuple[str, int]:
    count = 0

    def changed(match: "re.Match[str]") -> str:
        nonlocal count
        new = replace(match, f"{_MARK}{kind}]")
        count += new is not None
        return match[0] if new is None else new

    return pattern.sub(changed, text), count


def _whole(match: "re.Match[str]", mark: str) -> str | None:
    return mark


def _after(match: "re.Match[str]", mark: str) -> str | None:
    """Of the two groups that took part the first stays, and the second is the secret, unless it is none."""
    before, value = (group for group in match.groups() if group is not None)
    return None if _HARMLESS.fullmatch(value) else before + mark


def _value(match: "re.Match[str]", mark: str) -> str | None:
    """The value that was assigned, unless it is no secret."""
    groups = match.groupdict()
    quote, quoted = groups["quote"] or "", groups.get("quoted")
    value = (groups["bare"] if quoted is None else quoted).strip()
    name = (groups.get("name") or "").lower()
    if not any(map(str.isalnum, value)) or value.lower() == name or _HARMLESS.fullmatch(value) or (name == "pwd" and value[0] in "/~"):
        return None
    if "quoted" in groups and quoted is None and _is_word(name, value):
        return None
    if name in _WEAK and not (_is_random(value) or _is_meant(name, value, "quoted" not in groups, quoted)):
        return None
    if quoted is None and re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", value) and "=" not in groups["before"][-1:]:
        return None  # an attribute of something
    return f"{groups['before']}{quote}{mark}"


def _is_word(name: str, value: str) -> bool:
    """Whether a value without quotation marks is more likely a word or another name than what services give out; passwords may be words."""
    plain = re.sub(r"[_.-]|[:!?]+$", "", value.lower())
    other = plain.isalpha() and (len(value) < 16 or re.sub(r"[_-]", "", name) in plain)
    return other and bool(name) and not name.startswith("pass") and name not in ("pwd", "pgpass") and not name.endswith("pass")


def _is_meant(name: str, value: str, setting: bool, quoted: str | None) -> bool:
    """Whether a weak name means a secret by the way it stands there: as a setting (`MY_TOKEN=…`), or `secret` with one word in quotes."""
    return name in ("token", "secret") and (not value.isdigit() if setting else name == "secret" and bool(quoted) and " " not in value)


def _is_random(value: str) -> bool:
    """Whether a value looks as if chance had made it: long, in one piece, with digits and letters."""
    return len(value) >= 12 and not any(map(str.isspace, value)) and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


_STAGES: "tuple[tuple[re.Pattern[str], str, _Replace, tuple[str, ...]], ...]" = (
    (_PRIVATE_KEY, "private key", _whole, ("private key", "putty-", "age-secret")),
    (_OWN_FORM, "API key", _whole, ("",)),
    (_WEB_HOOK, "token", _after, ("hooks",)),
    (_WEB_TOKEN, "token", _whole, ("eyj",)),
    (_ADDRESS, "password", _after, ("://",)),
    (_AUTHORISATION, "token", _after, ("authorization",)),
    (_BEARER, "token", _after, ("bearer",)),
    (_COOKIE, "token", _after, ("cookie",)),
    (_DOCKER, "token", _after, ("auth",)),
    (_PARAMETER, "token", _after, ("?", "&")),
    (_STORED, "password", _whole, ("$",)),
    (_SETTING, "password", _value, ("pass", "secret", "token", "key")),
    (_ASSIGNED, "password", _value, ("pass", "pwd", "secret", "credential", "token", "key")),
    (_PAIR, "password", _value, ("pass", "pwd", "secret", "credential", "token", "key")),
    (_ELEMENT, "password", _value, ("</",)),
    (_OPTION, "password", _value, ("-pass", "-token", "-api", "-secret", "-auth", "-access")),
    (_LOGIN, "password", _value, ("curl", "sshpass", "mysql", "identified by", "machine ")),
    (_SENTENCE, "password", _value, ("pass", "key", "token")),
)
"""In this order: what is known by its form is called by its kind, wherever it stands. Last what a text has to hold somewhere, in small
letters, for the pattern to be tried: most texts hold nothing of the kind, and this tells at once."""
