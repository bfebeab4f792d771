import base64
import contextlib
import re

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.beckn.signing import BadSignature, digest, header, private_key, public_key, read, verify

# The worked example of BECKN-006 Draft 04; its keys are published samples.
BODY = (
    b'{"context":{"domain":"nic2004:60212","country":"IND","city":"Kochi","action":"search","core_version":"0.9.1",'
    b'"bap_id":"bap.stayhalo.in","bap_uri":"https://8f9f-49-207-209-131.ngrok.io/protocol/",'
    b'"transaction_id":"e6d9f908-1d26-4ff3-a6d1-3af3d3721054","message_id":"a2fe6d52-9fe4-4d1a-9d0b-dccb8b48522d",'
    b'"timestamp":"2022-01-04T09:17:55.971Z","ttl":"P1M"},"message":{"intent":{"fulfillment":{"start":{"location":'
    b'{"gps":"10.108768, 76.347517"}},"end":{"location":{"gps":"10.102997, 76.353480"}}}}}}'
)
PRIVATE = "lP3sHA+9gileOkXYJXh4Jg8tK0gEEMbf9yCPnFpbldhrAY+NErqL9WD+Vav7TE5tyVXGXBle9ONZi2W7o144eQ=="
PUBLIC = "awGPjRK6i/Vg/lWr+0xObclVxlwZXvTjWYtlu6NeOHk="
CREATED, EXPIRES = 1641287875, 1641291475
SIGNATURE = "cjbhP0PFyrlSCNszJM1F/YmHDVAWsZqJUPzojnE/7TJU3fJ/rmIlgaUHEr5E0/2PIyf0tpSnWtT6cyNNlpmoAQ=="
SENT = header(BODY, "example-bap.com", "ae3ea24b-cfec-495e-81f8-044aaef164ac", private_key(PRIVATE), CREATED, EXPIRES)


def test_the_published_digest_and_signature_come_out():
    assert digest(BODY) == "b6lf6lRgOweajukcvcLsagQ2T60+85kRh/Rd2bdS+TG/5ALebOEgDJfyCrre/1+BMu5nA94o4DT3pTFXuUg7sw=="
    assert f'signature="{SIGNATURE}"' in SENT
    fox = b"The quick brown fox jumps over the lazy dog"
    assert digest(fox) == "qK3Uvd39k+SHfSdG5igXsRY2Sh+nvBSNlQkLxzM7NnP4JAHPeqLkyx7NkCluPxTLVBP47Xe+cwRbE5FM3NapGA=="


def test_the_corrected_gateway_signature_comes_out():
    key = private_key("hJ5sCmbe7s9Wateq6QAdBGloVSkLuLHWOXcRkzrMcVLthFldV4gnT9Vrnq9iDNPVSKuDqaercVjQwFlj0Ml+3Q==")
    expected = "kUgvyU+bdXXkNuYKygbv0gkjArHKyF9Eg4pdCyxb+J1bMyQ6n4G1RVSM97qqKmgw04mgOkbhyz5chnD3PP1lDQ=="
    assert expected in header(BODY, "example-bg.com", "a", key, 1641287885, 1641291485)


def test_the_published_message_is_believed_until_it_expires_and_not_before_it_was_made():
    said = read(SENT)
    verify(said, BODY, public_key(PUBLIC), CREATED)
    verify(said, BODY, public_key(PUBLIC), EXPIRES - 1)
    verify(said, BODY, public_key(PUBLIC), CREATED - 5)
    with pytest.raises(BadSignature, match="expired 0 s ago"):
        verify(said, BODY, public_key(PUBLIC), EXPIRES)
    with pytest.raises(BadSignature, match="6 s in the future"):
        verify(said, BODY, public_key(PUBLIC), CREATED - 6)


@given(st.binary(max_size=300), st.integers(0, 2**31), st.integers(1, 10**6), st.text("abc.|-", min_size=1))
def test_what_is_signed_is_read_back_and_verified(body, created, ttl, key_id):
    key = Ed25519PrivateKey.generate()
    said = read(header(body, "bpp.example", key_id, key, created, created + ttl))
    assert (said.subscriber_id, said.key_id, said.created, said.expires) == (
        "bpp.example",
        key_id,
        created,
        created + ttl,
    )
    verify(said, body, key.public_key(), created)


@given(st.integers(0, 8 * len(BODY) - 1))
def test_one_flipped_bit_of_the_body_is_noticed(bit):
    changed = bytearray(BODY)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadSignature, match="does not match"):
        verify(read(SENT), bytes(changed), public_key(PUBLIC), CREATED)


@pytest.mark.parametrize(
    ("old", "new"),
    [(str(CREATED), str(CREATED - 1)), (str(EXPIRES), str(EXPIRES + 1)), (SIGNATURE, SIGNATURE.swapcase())],
)
def test_a_changed_time_or_signature_is_noticed(old, new):
    with pytest.raises(BadSignature, match="does not match"):
        verify(read(SENT.replace(old, new)), BODY, public_key(PUBLIC), CREATED)


def test_order_and_spaces_of_the_parameters_do_not_matter():
    scheme, _, rest = SENT.partition(" ")
    shuffled = scheme + "  " + " ,  ".join(reversed(re.findall(r'\w+="[^"]*"', rest)))
    assert read(shuffled) == read(SENT)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the scheme is"),
        ("Bearer abc", "the scheme is"),
        ("Signature nothing", "cannot be read"),
        ('Signature keyId="a|b|ed25519"', "lacks algorithm"),
        (SENT + ',created="1"', "cannot be read"),
        (SENT.replace("|ed25519", "|rsa"), "must be named"),
        (SENT.replace('algorithm="ed25519"', 'algorithm="rsa"'), "must be named"),
        (SENT.replace(" digest", ""), "must be"),
        (SENT.replace(SIGNATURE, "???"), "no base64"),
        (SENT.replace(str(CREATED), "yesterday"), "unix time"),
        (SENT.replace(str(CREATED), "٣"), "unix time"),
    ],
)
def test_a_header_that_cannot_be_believed_says_why(text, problem):
    with pytest.raises(BadSignature, match=problem):
        read(text)


@given(st.text())
def test_no_text_breaks_the_reader(text):
    for candidate in (text, "Signature " + text, SENT.replace("digest", text)):
        with contextlib.suppress(BadSignature):
            read(candidate)


def test_keys_of_the_wrong_size_or_halves_that_do_not_belong_together_are_refused():
    assert private_key(base64.b64encode(base64.b64decode(PRIVATE)[:32]).decode()).public_key() == public_key(PUBLIC)
    for wrong in ("", "%%%", base64.b64encode(b"short").decode()):
        with pytest.raises(ValueError, match="base64 of 32"):
            private_key(wrong)
        with pytest.raises(ValueError, match="base64 of 32 bytes"):
            public_key(wrong)
    with pytest.raises(ValueError, match="second half"):
        private_key(base64.b64encode(b"a" * 64).decode())
