"""Secrets leave a text, whatever stands around them; what is no secret stays; and time grows with the text."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgexp.redaction import KINDS, redact, tell

HEX = "9f86d081884c7d659a2feaa0c55ad015"
KEYS = [
    "sk-" + "a" * 48,
    "sk-test-abcdefghijklmnopqrstuvwx",
    "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t",
    "sk-ant-api03-Zz9_yY8-xX7wW6vV5uU4",
    "sk-or-v1-0123456789abcdef0123456789abcdef",
    "ghp_" + "a1B2" * 9,
    "github_pat_11ABCDEFG0" + "x9" * 20,
    "glpat-aBcDeFgHiJ1234567890",
    "xoxb-123456789012-abcdefABCDEF",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSy" + "A1b2C3d4" * 4,
    "hf_" + "aB3" * 12,
    "npm_" + "aB3" * 12,
    "sk_live_51H8abcdEFGHijkl",
    "SG." + "aB3d" * 6 + "." + "eF6h" * 8,
    "gsk_" + "aB3" * 10,
    "123456789:AAF" + "aB3d" * 8,
    "dckr_pat_" + "aB3d" * 7,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
]
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nabc+/=\n-----END RSA PRIVATE KEY-----"
PLACED = [
    ("MY_TOKEN={}", "letmein"),
    ("APP_SECRET={}", "letmein"),
    ("Bearer {}", "abcdefghijklmnopqrstuvwx"),
    ("Authorization: Bearer {}", "abc.DEF-123_456"),
    ("authorization: Basic {}", "dXNlcjpwYXNzd29yZA=="),
    ("Authorization: token {}", "abcdefgh"),
    ('{{"Authorization": "Bearer {}"}}', "abcdefgh12345678"),
    ("-H 'Authorization: {}'", "raw-token-77"),
    ("use Bearer {} here", HEX),
    ("Cookie: session={}; other=1", HEX),
    ("Set-Cookie: sid={}; HttpOnly", HEX),
    ("https://user:{}@example.org/x", "p@ss:w0rd"),
    ("postgres://admin:{}@db:5432/app", "hunter2"),
    ("https://{}@github.com/a/b", "x0123456789abcdef0123"),
    ("GET /v1?api_key={}&page=2", "zzzzzzzz"),
    ("https://x.org/?a=1&X-Amz-Signature={}", HEX),
    ("password={}", "hunter2"),
    ("PASSWORD={}", "ab&c;d"),
    ("export DB_PASSWORD={}", "letmein"),
    ("pwd: {}", "hunter2"),
    ('"password": "{}"', "correct horse battery"),
    ("'api_key': '{}'", "abcdef"),
    ('api_key="{}"', "a,b;c d"),
    ("password := '{}'", "q"),
    ("client_secret => '{}'", "x1"),
    ("aws_secret_access_key = {}", "wJalrXUtnFEMI/K7MDENG/bPx"),
    ("AccountKey={};EndpointSuffix=x", "abcd+/=="),
    ("Server=x;Password={};", "Tr0ub4dor"),
    ("mypassword2={}", "q"),
    ('token = "{}"', "a1b2c3d4e5f6"),
    ("MY_TOKEN={}", "a1b2c3d4e5f6"),
    ("STRIPE_KEY={}", "a1b2c3d4e5f6g7"),
    ("mysql --password {} -u root", "hunter2"),
    ("login --api-key '{}'", "a b"),
    ("curl -s -u bob:{} https://x", "hunter2"),
    ("sshpass -p {} ssh x", "hunter2"),
    ("mysql -u root -p{} app", "hunter2"),
    ("machine x.org login bob password {}", "hunter2"),
    ("The password is {}.", "hunter2"),
    ("the password is '{}'", "letmein"),
    ("<password>{}</password>", "letmein"),
    ('{{"name": "DB_PASSWORD", "value": "{}"}}', "letmein"),
    ("- name: DB_PASSWORD\n  value: {}", "letmein"),
    ('setenv("PASSWORD", "{}")', "x y"),
    ('password: str = "{}"', "letmein"),
    ('{{"auths": {{"r": {{"auth": "{}"}}}}}}', "dXNlcjpwYXNzd29yZA=="),
    ("root:{}:19000:0", "$6$abcdefgh$ijklmnopqrstuvwxyz0123456789"),
    ("https://hooks.slack.com/services/{}", "T000/B000/abcdefghijkl"),
    ('password="{}"', 'with \\" in it'),
    ("identified by '{}'", "hunter2"),
    ("passphrase: {}", "opensesame"),
]
HARMLESS = [
    "MAX_TOKEN=4096",
    "bearer authentication",
    "f(admin_api_key=admin_api_key)",
    "client_secret: SessionClientSecret",
    "refresh_token: RefreshTokenT",
    'List[Literal["user_id", "api_key_id", "model"]]',
    "authorization: Optional[str] = None",
    "explicit_authorization = any(x)",
    "the file identified by this pointer",
    "client_secret: Configuration options for it",
    "self.api_key = public_api_key or x",
    "api_key=_sdk.api_key,",
    "password=None",
    "password = os.environ['DB_PASSWORD']",
    "api_key=os.getenv('KEY')",
    "token: 5",
    "max_tokens=4096",
    "token = tokenizer.next()",
    "password: str",
    'password="$DB_PASSWORD"',
    "--token $TOKEN",
    'api_key="<your key>"',
    "password = getpass.getpass()",
    "PASSWORD=${PASSWORD}",
    "Authorization: Bearer $TOKEN",
    "Authorization: Bearer <token>",
    "a bearer of bad news",
    "PWD=/home/bob",
    "secret: it was a dark night",
    f"sha256 {HEX * 2}",
    "commit 9f86d081884c7d659a2feaa0c55ad015aabbccdd",
    "http://localhost:8080/x@y",
    "mail bob@example.org",
    "sk-learn and sk-image",
    '{"token": "the", "id": 3}',
    "key: value",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "git@github.com:a/b.git",
    "ssh-rsa AAAAB3NzaC1yc2E bob@x",
    "the password is wrong",
    "password=self.password",
    "https://example.org:443/path",
    "x = {secret}",
]
AROUND = [("", ""), ("before ", " after"), ('{"a": "', '"}'), ("(", ")"), ("line\n", "\nline"), ("x\\n", "\\ny"), ("=", ",")]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("before", "after"), AROUND)
def test_keys_are_known_by_their_form(key, before, after):
    text, found = redact(before + key + after)
    assert key not in text and key[-12:] not in text and sum(found.values()) == 1
    assert text.startswith(before) and text.endswith(after)


@pytest.mark.parametrize(("form", "secret"), PLACED)
@pytest.mark.parametrize(("before", "after"), [("", ""), ("first\n", "\nlast")])
def test_secrets_are_known_by_what_stands_before_them(form, secret, before, after):
    text, found = redact(before + form.format(secret) + after)
    assert secret not in text and sum(found.values()) == 1, text
    assert text.startswith(before) and text.endswith(after) and set(found) <= set(KINDS)


@pytest.mark.parametrize(("form", "secret"), [(form, secret) for form, secret in PLACED if "\n" not in form and '"' not in secret])
def test_secrets_are_found_inside_json_inside_json(form, secret):
    for text in (json.dumps(form.format(secret)), json.dumps({"output": json.dumps({"said": "x\n" + form.format(secret)})})):
        assert secret not in redact(text)[0], redact(text)[0]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text):
    assert redact(text) == (text, {})


@pytest.mark.parametrize("name", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "DSA "])
@pytest.mark.parametrize("end", ["\n", "\\n", "\r\n", "\n+ ", "\n   12\t"])
def test_private_keys_go_whole(name, end):
    block = end.join(
        [f"-----BEGIN {name}PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED", "", "MIIEpAIBAAKCAQEA", f"-----END {name}PRIVATE KEY-----"]
    )
    assert redact(f"a {block} b") == ("a [redacted: private key] b", {"private key": 1})
    assert "MIIE" not in redact(block[: block.index("CAQEA")])[0]  # cut short
    assert redact(PEM.replace("RSA PRIVATE KEY", "PGP PRIVATE KEY BLOCK"))[0] == "[redacted: private key]"


def test_counts_are_told_in_words():
    text = f"password=hunter2 password=hunter3\n{KEYS[0]}\n{PEM}"
    assert tell(redact(text)[1]) == "1 private key, 1 API key, 2 passwords"
    assert tell(redact("nothing")[1]) == ""


SCRAPS = st.sampled_from(
    [*KEYS, PEM, PEM[:60], "[redacted: password]", "[redacted: ", *(form.format(secret) for form, secret in PLACED), *HARMLESS]
)
TEXTS = st.lists(st.one_of(SCRAPS, st.text(max_size=8), st.sampled_from(list(" \"'\\=:,;{}[]\n@/&")))).map("".join)


@given(TEXTS)
@example("password=a[redacted: API key]")
@example("Authorization: Bearer [redacted: API key]")
def test_what_is_redacted_stays_as_it_is(text):
    once, _ = redact(text)
    assert redact(once) == (once, {})


@given(TEXTS, st.sampled_from([key for key in KEYS if not key.startswith("SG")]), TEXTS)
def test_a_key_is_gone_whatever_stands_around_it(before, key, after):
    assert f" {key} " not in redact(f"{before} {key} {after}")[0]


@pytest.mark.parametrize(
    "piece",
    [
        "-----BEGIN PRIVATE KEY-----",
        "password=",
        'password="',
        "password: '\\",
        "--password ",
        "curl -u ",
        "a://",
        "a://b:",
        "https://x:y",
        "sk-",
        "eyJ",
        "Authorization: ",
        "cookie: a",
        "-",
        "A",
        "a",
        "a.",
        "PASSWORD",
        "token",
        "\\",
        '\\"',
        "?key=",
        "the password is ",
        "machine a ",
        "<password>",
        "\n",
        "SG.",
        "bearer ",
        "[redacted: ",
        "mysql ",
        "password, value",
    ],
)
def test_time_grows_with_the_text_and_no_faster(piece):
    """A text of this size takes hours where a pattern looks again and again."""
    redact(piece * (200_000 // len(piece)))
