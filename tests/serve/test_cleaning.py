"""Secrets are found by their shapes, and what only looks like one is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgexp.errors import UsageError
from edgexp.serve.cleaning import Redaction, compile_patterns

SECRETS = [
    "sk-abcdefghijklmnopqrstuvwx", "sk-proj-AbCd_1234-efghIJKLmnop5678", "sk-ant-api03-abcdefghijklmnop", "ghp_" + "a1B2" * 9,
    "github_pat_11ABCDEFG0" + "x" * 30, "glpat-abcdefghijklmnopqrst", "hf_abcdefghijklmnopqrstuvwxyz", "xoxb-123456789012-abcdefghij",
    "AKIAIOSFODNN7EXAMPLE", "AIzaSyA-abcdefghijklmnopqrstuvwxyz12345", "npm_" + "a" * 36, "123456789:AAabcdefghijklmnopqrstuvwxyz1234567",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF123", "sk_live_abcdefghijklmnopqrstuvwx", "whsec_abcdefghijklmnopqrstuvwx",
]  # fmt: skip
WITHIN = [
    ("https://user:hunter2secret@host/path", "hunter2secret"), ("postgres://admin:p4ss%21word@db:5432/x", "p4ss%21word"),
    ("Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789abcdef"),
    ("authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNz"),
    ('{"api_key": "0123456789abcdef"}', "0123456789abcdef"), ('{\\"password\\": \\"correcthorse\\"}', "correcthorse"),
    ("password=correcthorse", "correcthorse"), ("export DB_PASSWORD='correcthorse'", "correcthorse"),
    ("OPENAI_API_KEY=abc123def456", "abc123def456"),
    ("mysql --password=correcthorse -u root", "correcthorse"), ("client_secret: zyxwvut98765", "zyxwvut98765"),
    ("pwd: letmein123", "letmein123"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI/K7MDENG"),
    ("token => s3cr3tt0ken99", "s3cr3tt0ken99"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\ndef\n-----END RSA PRIVATE KEY-----", "MIIEabc"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r\ncut off", "b3BlbnNzaC1r"),
    ("https://hooks.slack.com/services/T0000/B0000/abcdefghijklmnop", "abcdefghijklmnop"),
]  # fmt: skip
HARMLESS = [
    "put a hot egg on the table", "The token of my esteem is this mug.", "go to desk 1", "my password is long", "see https://example.com/a:b@c",
    "secret: no", "task-1234567890abcdefghij is done", "a risk-averse-and-quite-careful-person", "max_tokens=4096 was set" [:14],
    "http://localhost:8080/v1#name", "the keys are on the sofa: key 1, key 2", "skip-connections-in-neural-networks",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_not_kept_wherever_it_stands(secret):
    for text in (secret, f"use {secret}.", f"'{secret}'", f"a\n{secret}\nb", f'{{"x": "{secret}"}}'):
        assert secret not in Redaction().clean(text) and "[" in Redaction().clean(text), text


@pytest.mark.parametrize(("text", "secret"), WITHIN)
def test_what_stands_where_secrets_stand_is_not_kept(text, secret):
    redaction = Redaction()
    assert secret not in redaction.clean(text) and redaction.count == 1


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text):
    assert Redaction().clean(text) == text


PIECES = st.one_of(st.sampled_from([*SECRETS, *(text for text, _ in WITHIN), *HARMLESS]), st.text(max_size=20))


@given(st.lists(PIECES, max_size=6).map(" ".join))
def test_cleaning_twice_changes_nothing_more(text):
    once = Redaction().clean(text)
    assert Redaction().clean(once) == once


def test_a_long_text_takes_no_long_time():
    for text in ("a" * 200_000, "sk-" * 60_000, "password" * 25_000, "://" * 60_000, "eyJ" * 60_000, "x://" + "a:" * 90_000,
                 "-----BEGIN " * 20_000, "token= " * 30_000, "A_" * 100_000):  # fmt: skip
        Redaction().clean(text)


def test_patterns_of_ones_own():
    redaction = Redaction(compile_patterns([r"customer \d+"]))
    assert redaction.clean("customer 17 called") == "[redacted] called"
    for wrong in ("(", "a*"):
        with pytest.raises(UsageError, match="--redact"):
            compile_patterns([wrong])
