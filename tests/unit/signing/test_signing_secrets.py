"""Keys are parsed and formatted as in the specification, and are never shown by accident."""

import base64
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing import (
    Ed25519Secret,
    HmacSecret,
    MalformedSecret,
    PublicKey,
    Secret,
    generate_ed25519,
    generate_hmac,
    parse_public_key,
    parse_secret,
)

# The secret of the published `v1` vector, and the pair of the `v1a` vector in Svix's server
# (svix/svix-webhooks: README.md, "Configuring the keys"; server/svix-server/src/worker.rs).
HMAC_TEXT = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAIR_TEXT = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC_TEXT = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
SECRETS = [parse_secret(HMAC_TEXT), parse_secret(PAIR_TEXT)]


def base64_of(count: int) -> str:
    return base64.b64encode(bytes(range(count))).decode()


# ------------------------------------------------------------------ reading and writing
def test_an_hmac_secret_is_read_with_its_prefix():
    assert parse_secret("whsec_" + HMAC_TEXT) == HmacSecret(base64.b64decode(HMAC_TEXT))


def test_an_hmac_secret_is_read_without_its_prefix():
    assert parse_secret(HMAC_TEXT) == parse_secret("whsec_" + HMAC_TEXT)


def test_an_hmac_secret_is_written_with_its_prefix():
    assert parse_secret(HMAC_TEXT).reveal() == "whsec_" + HMAC_TEXT


def test_base64_may_lack_its_padding():
    assert parse_secret("whsec_" + base64_of(32).rstrip("=")) == HmacSecret(bytes(range(32)))


def test_a_key_pair_is_read_as_seed_and_public_key():
    assert parse_secret(PAIR_TEXT) == Ed25519Secret(base64.b64decode(PAIR_TEXT[5:])[:32])


def test_a_key_pair_is_read_from_its_seed_alone():
    seed = base64.b64decode(PAIR_TEXT[5:])[:32]
    assert parse_secret("whsk_" + base64.b64encode(seed).decode()) == parse_secret(PAIR_TEXT)


def test_a_key_pair_is_written_as_seed_and_public_key():
    assert parse_secret(PAIR_TEXT).reveal() == PAIR_TEXT


def test_a_key_pairs_public_half_is_the_published_one():
    pair = parse_secret(PAIR_TEXT)
    assert isinstance(pair, Ed25519Secret)
    assert pair.public.to_text() == PUBLIC_TEXT


def test_a_public_key_is_read_and_written():
    assert parse_public_key(PUBLIC_TEXT).to_text() == PUBLIC_TEXT


@given(st.binary(min_size=24, max_size=64))
def test_an_hmac_secret_reads_back_as_it_was_written(random_bytes: bytes):
    secret = generate_hmac(random_bytes)
    assert parse_secret(secret.reveal()) == secret


@given(st.binary(min_size=32, max_size=32))
def test_a_key_pair_reads_back_as_it_was_written(random_bytes: bytes):
    secret = generate_ed25519(random_bytes)
    assert parse_secret(secret.reveal()) == secret
    assert parse_public_key(secret.public.to_text()) == secret.public


# ------------------------------------------------------------------ what is turned away
@pytest.mark.parametrize("count", [24, 32, 64])
def test_an_hmac_secret_has_24_to_64_bytes(count: int):
    assert len(generate_hmac(bytes(count)).key) == count


@pytest.mark.parametrize("count", [0, 1, 23, 65, 1000])
def test_an_hmac_secret_of_any_other_length_is_malformed(count: int):
    with pytest.raises(MalformedSecret, match="24 to 64 bytes"):
        parse_secret("whsec_" + base64_of(count % 256))
    with pytest.raises(MalformedSecret, match="24 to 64 bytes"):
        generate_hmac(bytes(count))


@pytest.mark.parametrize("count", [0, 24, 31, 33, 63, 65, 96])
def test_a_key_pair_of_another_length_is_malformed(count: int):
    with pytest.raises(MalformedSecret):
        parse_secret("whsk_" + base64_of(count))


@pytest.mark.parametrize("count", [0, 31, 33, 64])
def test_a_public_key_of_another_length_is_malformed(count: int):
    with pytest.raises(MalformedSecret, match="32 bytes"):
        parse_public_key("whpk_" + base64_of(count))


def test_a_pair_with_mismatched_halves_is_malformed():
    with pytest.raises(MalformedSecret, match="belong together"):
        parse_secret("whsk_" + base64_of(64))


def test_a_public_key_is_not_a_secret():
    with pytest.raises(MalformedSecret, match="signs nothing"):
        parse_secret(PUBLIC_TEXT)


@pytest.mark.parametrize("text", ["whsec_" + HMAC_TEXT, PAIR_TEXT, HMAC_TEXT])
def test_a_secret_is_not_a_public_key(text: str):
    with pytest.raises(MalformedSecret, match="whpk_"):
        parse_public_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsk_",
        "whsec_" + "%" * 40,
        "hwsec_" + HMAC_TEXT,
        "whsec_whsec_" + HMAC_TEXT,
        "whsec_" + HMAC_TEXT + "\n",
        " whsec_" + HMAC_TEXT,
        "WHSEC_" + HMAC_TEXT,
        "whsec_" + HMAC_TEXT + "====",
        "whsec_" + "é" * 40,
        "\x00" * 40,
    ],
)
def test_other_text_is_malformed(text: str):
    with pytest.raises(MalformedSecret):
        parse_secret(text)


@given(st.text() | st.text().map("whsec_".__add__) | st.text("AZaz09+/=-_").map("whsk_".__add__))
def test_any_text_is_a_secret_or_malformed(text: str):
    try:
        secret = parse_secret(text)
    except MalformedSecret:
        return
    assert parse_secret(secret.reveal()) == secret


def test_malformed_secrets_are_value_errors():
    assert issubclass(MalformedSecret, ValueError)


# ------------------------------------------------------------------ key ids
def test_a_key_id_is_twelve_hex_letters():
    assert [len(bytes.fromhex(secret.key_id)) for secret in SECRETS] == [6, 6]


def test_a_key_id_never_changes():
    assert [secret.key_id for secret in SECRETS] == ["644a9ebd0266", "3b03b46a5ae6"]


def test_both_halves_of_a_pair_have_the_same_id():
    assert parse_public_key(PUBLIC_TEXT).key_id == parse_secret(PAIR_TEXT).key_id


def test_the_same_bytes_as_another_kind_of_key_have_another_id():
    raw = bytes(range(32))
    ids = {HmacSecret(raw).key_id, Ed25519Secret(raw).key_id, PublicKey(raw).key_id}
    assert len(ids) == 3


# ------------------------------------------------------------------ silence
def render_secret(secret: Secret) -> str:
    """All representations of a secret that must not contain the key."""
    return f"{secret!r} {secret!s} {secret} {[secret]} {(secret,)}"


def key_material(secret: Secret) -> list[str]:
    """The key as base64, hex and Python bytes; for a pair, its secret half."""
    raw = secret.key if isinstance(secret, HmacSecret) else secret.seed
    return [base64.b64encode(raw).decode()[:40], raw.hex(), repr(raw)[2:-1]]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_never_shows_its_key(secret: Secret):
    assert not [material for material in key_material(secret) if material in render_secret(secret)]


@given(st.binary(min_size=32, max_size=32))
def test_no_secret_ever_shows_its_key(random_bytes: bytes):
    for secret in (generate_hmac(random_bytes), generate_ed25519(random_bytes)):
        assert not [material for material in key_material(secret) if material in render_secret(secret)]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secrets_repr_has_its_id(secret: Secret):
    assert secret.key_id in repr(secret)


def test_a_public_key_shows_itself():
    assert PUBLIC_TEXT in repr(parse_public_key(PUBLIC_TEXT))


@pytest.mark.parametrize(
    "text",
    [
        "whsec_" + HMAC_TEXT + "%",
        "whsec_" + HMAC_TEXT * 3,
        "whsec_" + HMAC_TEXT[:8],
        PAIR_TEXT[:-4],
        PAIR_TEXT + "!",
        "whsk_" + PAIR_TEXT[9:] + "AAAA",
        "whsec_é" + HMAC_TEXT,
    ],
)
def test_an_error_about_a_secret_does_not_contain_it(text: str):
    with pytest.raises(MalformedSecret) as caught:
        parse_secret(text)
    error = caught.value
    # Only the messages of all causes, not the frames' source lines, which are this test's own.
    result = "".join(traceback.format_exception_only(error)) + repr(error.args) + repr(error.__cause__)
    assert error.__suppress_context__ or error.__context__ is None
    assert HMAC_TEXT[:8] not in result
    assert PAIR_TEXT[9:17] not in result
